// The grid of images and its large view. Texts are set as text, never as markup.
const grid = element.querySelector(".grid");
const empty = element.querySelector(".empty");
const end = element.querySelector(".end");
const dialog = element.querySelector("dialog");
const view = (name) => dialog.querySelector("." + name);
let items = [];
let shown = -1; // which image the large view shows
let asked = -1; // how many images there were when more were asked for

const address = (key) => new URL("gradio_api/file=" + key, document.baseURI).href;
const large = (item) => address(item.image.path.replace("-small", ""));
const percent = (item) => (item.relevance === null ? "" : item.relevance + " % relevant");

function make(tag, name, text) {
  const made = document.createElement(tag);
  made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function day(date) {
  const parsed = date ? new Date(date.slice(0, 10) + "T12:00") : null;
  if (!parsed || isNaN(parsed)) return "";
  return parsed.toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}

function tile(item) {
  const button = make("button", "tile" + (item.is_found ? " found" : ""));
  button.type = "button";
  const frame = make("span", "frame");
  const image = make("img", "");
  image.loading = "lazy";
  image.decoding = "async";
  image.alt = "";
  image.src = address(item.image.path);
  frame.append(image);
  const path = make("span", "path caption-label", item.file);
  path.title = item.file;
  const facts = make("span", "facts");
  if (item.relevance !== null) facts.append(make("span", "relevance", percent(item)));
  facts.append(make("span", "date", day(item.date)));
  button.append(frame, path, facts);
  button.addEventListener("click", () => open(item.place));
  return button;
}

function show() {
  const page = Array.isArray(props.value) ? props.value : [];
  if (page.length === 0 || page[0].place === 0) {
    items = [];
    grid.replaceChildren();
    if (dialog.open) dialog.close();
  } else if (page[0].place !== items.length) {
    return;
  }
  items.push(...page);
  grid.append(...page.map(tile));
  empty.hidden = items.length > 0 || props.value === null;
  asked = -1;
  const left = items.length ? items[items.length - 1].left : 0;
  end.hidden = left === 0;
  requestAnimationFrame(askIfNear); // a tall window may have room for more
}

function askIfNear() {
  const room = end.getBoundingClientRect();
  const isNear = !end.hidden && element.offsetParent && room.top < window.innerHeight + 800;
  if (isNear && asked !== items.length) {
    asked = items.length;
    trigger("reach", { index: items.length });
  }
}

function open(place) {
  if (!items[place]) return;
  shown = place;
  const item = items[place];
  view("picture").src = address(item.image.path); // at once, until the large one is there
  view("picture").alt = item.file;
  const better = new Image();
  better.onload = () => { if (shown === place) view("picture").src = better.src; };
  better.src = large(item);
  view("path").textContent = item.file;
  const size = item.width ? item.width + " × " + item.height : "";
  const cosine = item.similarity === null ? "" : "cosine " + item.similarity.toFixed(2);
  const facts = [day(item.date), size, item.camera, percent(item), cosine];
  view("facts").textContent = facts.filter(Boolean).join("  ·  ");
  view("more").textContent = "More like " + item.name;
  view("less").textContent = "Less like " + item.name;
  view("previous").disabled = place === 0;
  view("next").disabled = place === items.length - 1;
  if (!dialog.open) dialog.showModal();
  if (items.length - place < 6 && !end.hidden && asked !== items.length) {
    asked = items.length;
    trigger("reach", { index: items.length });
  }
}

function close() {
  dialog.close();
  const back = grid.children[shown];
  shown = -1;
  if (back) back.focus();
}

function mark(kind) {
  const place = shown;
  dialog.close();
  trigger(kind, { index: place });
}

view("close").addEventListener("click", close);
view("previous").addEventListener("click", () => open(shown - 1));
view("next").addEventListener("click", () => open(shown + 1));
view("more").addEventListener("click", () => mark("alike"));
view("less").addEventListener("click", () => mark("unlike"));
dialog.addEventListener("cancel", (event) => { event.preventDefault(); close(); });
dialog.addEventListener("click", (event) => { if (event.target === dialog) close(); });
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") open(shown - 1);
  if (event.key === "ArrowRight") open(shown + 1);
});
let start = null;
dialog.addEventListener("touchstart", (event) => { start = event.changedTouches[0].clientX; }, { passive: true });
dialog.addEventListener("touchend", (event) => {
  const moved = event.changedTouches[0].clientX - start;
  if (Math.abs(moved) > 60) open(shown + (moved < 0 ? 1 : -1));
});

function columns() {
  return getComputedStyle(grid).gridTemplateColumns.split(" ").length;
}

grid.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
  const place = [...grid.children].indexOf(document.activeElement);
  const next = grid.children[place + steps[event.key]];
  if (place < 0 || !next) return;
  event.preventDefault();
  next.focus();
});

function focusQuery(event) {
  const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  if (event.key !== "/" || isTyping || dialog.open || event.ctrlKey || event.metaKey) return;
  const query = document.querySelector("#query textarea, #query input");
  if (!query || !query.offsetParent) return; // on another tab
  event.preventDefault();
  query.focus();
  query.select();
}

document.addEventListener("keydown", focusQuery);
window.addEventListener("scroll", askIfNear, { passive: true });
window.addEventListener("resize", askIfNear, { passive: true });
watch("value", show);
show();
