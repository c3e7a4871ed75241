// The ladder: {told, said, done, total, rungs: [{step, title, share, spread, worst, lack, is_best, is_apart}]}.
const find = (name) => element.querySelector(name);
const percent = (share) => (100 * share).toFixed(1) + " %";

function cell(line, text, name) {
  const made = document.createElement("td");
  made.textContent = text;
  made.className = name || "";
  line.append(made);
  return made;
}

function row(rung) {
  const line = document.createElement("tr");
  line.classList.toggle("best", Boolean(rung.is_best));
  line.classList.toggle("apart", Boolean(rung.is_apart));
  cell(line, rung.step ?? "");
  cell(line, rung.title + (rung.is_best ? "  ← take this" : ""));
  if (rung.lack) {
    cell(line, "not measured: it " + rung.lack, "lack");
    cell(line, "");
    return line;
  }
  const share = document.createElement("div");
  share.className = "share";
  const bar = document.createElement("i");
  bar.style.width = 100 * rung.share + "%";
  const text = document.createElement("span");
  text.textContent = percent(rung.share) + (rung.spread === null || rung.spread === undefined ? "" : " ± " + (100 * rung.spread).toFixed(1));
  const holder = document.createElement("div");
  holder.append(bar);
  share.append(holder, text);
  cell(line, "").append(share);
  cell(line, rung.worst || "");
  return line;
}

function show() {
  const value = props.value;
  if (!value) return;
  find(".told").textContent = value.told;
  const bar = find("progress");
  bar.hidden = value.is_done;
  if (value.total) { bar.max = value.total; bar.value = value.done; } else bar.removeAttribute("value");
  find(".rows").hidden = !value.rungs.length;
  find("tbody").replaceChildren(...value.rungs.map(row));
  find(".said").replaceChildren(...value.said.map((sentence) => {
    const item = document.createElement("li");
    item.textContent = sentence;
    return item;
  }));
  if (value.is_done && element.getBoundingClientRect().top > window.innerHeight - 120) {
    element.scrollIntoView({ behavior: "smooth" });
  }
}
watch("value", show);
show();
