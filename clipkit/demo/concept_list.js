// The concepts that were taught: [{name, images, kind}]. Removing one is asked about.
const table = element.querySelector("table");
const body = element.querySelector("tbody");

function make(tag, text, name) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = name || "";
  return made;
}

function button(text, name, action) {
  const made = make("button", text, name);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

function row(item, place) {
  const line = document.createElement("tr");
  const last = document.createElement("td");
  const remove = button("Remove", "", () => {
    const sure = button("Remove for good", "sure", () => trigger("remove", { index: place }));
    const keep = button("Keep", "", () => { last.replaceChildren(remove); remove.focus(); });
    last.replaceChildren(sure, keep);
    keep.focus();
  });
  remove.setAttribute("aria-label", "Remove " + item.name);
  last.append(remove);
  line.append(make("td", item.name), make("td", item.images), make("td", item.kind || ""), last);
  return line;
}

function show() {
  const items = Array.isArray(props.value) ? props.value : [];
  body.replaceChildren(...items.map(row));
  table.hidden = !items.length;
  element.querySelector(".none").hidden = items.length > 0;
}

watch("value", show);
show();
