// The grid of images, the line above it and its large view. Texts are set as text, never as markup.
const grid = element.querySelector(".grid");
const empty = element.querySelector(".empty");
const end = element.querySelector(".end");
const dialog = element.querySelector("dialog");
const line = element.querySelector("[role=status]");
const news = element.querySelector(".news");
const forget = element.querySelector(".forget");
const view = (name) => dialog.querySelector("." + name);
// The browser lays a part out without the others, and none that is far from the window. A part ends
// with a full row, in one to six columns.
const PART = 120;
let items = [];
let tiles = [];
let part = null; // of the grid, which the next image is added to
let waiting = 0; // the timer until news are told
let left = 0; // how many images follow after these
let shown = -1; // which image the large view shows
let number = 0; // of the search that is shown: later ones have greater ones
let renewed = 0; // when what is shown came
let asked = -1; // how many images there were when more were asked for

const address = (key) => new URL("gradio_api/file=" + key, document.baseURI).href;
const large = (item) => address(key(item));
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

function tile(item, place) {
  const cell = make("div", "cell" + (item.is_found ? " found" : ""));
  const button = make("button", "tile");
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
  if (item.group !== null) facts.append(make("span", "", item.is_spare ? "spare copy" : "best copy"));
  facts.append(make("span", "date", day(item.date)));
  button.append(frame, path, facts);
  button.addEventListener("click", () => open(place));
  cell.append(button, picker(item, place));
  return cell;
}

function add(item) {
  const place = items.push(item) - 1;
  const before = items[place - 1];
  if (item.group !== null && (!before || before.group !== item.group)) {
    startPart(make("h2", "group", item.heading));
  } else if (!part || part.childElementCount === PART) {
    startPart();
  }
  const cell = tile(item, place);
  tiles.push(cell);
  part.append(cell);
}

function startPart(...heading) {
  if (part) part.classList.add("full");
  part = make("div", "part");
  grid.append(...heading, part);
}

function show() {
  const page = props.value;
  if (!page || typeof page !== "object") return;
  if (page.number < number) return; // an answer that was overtaken
  if (page.start === 0) {
    number = page.number;
    items = [];
    tiles = [];
    part = null;
    grid.replaceChildren();
    whole = page.whole;
    news.hidden = true;
    renewed = Date.now();
    selectNone();
    if (dialog.open) dialog.close();
  } else if (page.number !== number || page.start !== items.length) {
    return;
  }
  page.images.forEach(add);
  showSelection(page.start);
  left = page.left;
  line.textContent = page.told;
  forget.hidden = !page.has_marks;
  empty.hidden = items.length > 0;
  end.hidden = left === 0;
  asked = -1;
  requestAnimationFrame(askIfNear); // a tall window may have room for more
}

function ask() {
  if (left === 0 || asked === items.length) return;
  asked = items.length;
  trigger("reach", { index: items.length, value: String(number) });
}

function askIfNear() {
  const room = end.getBoundingClientRect();
  if (element.offsetParent && room.top < window.innerHeight + 800) ask();
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
  if (items.length - place < 6) ask();
}

function close() {
  dialog.close();
  const back = tiles[shown];
  shown = -1;
  if (back) back.querySelector(".tile").focus();
}

function mark(kind) {
  dialog.close();
  trigger(kind, { index: shown, value: key(items[shown]) });
}

forget.addEventListener("click", () => trigger("forget", { index: 0 }));
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
  return getComputedStyle(part).gridTemplateColumns.split(" ").length;
}

grid.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
  const place = tiles.findIndex((cell) => cell.contains(document.activeElement));
  if (event.key === "x" && place >= 0) pick(place, event.shiftKey);
  const next = tiles[place + steps[event.key]];
  if (place < 0 || !next) return;
  event.preventDefault();
  next.querySelector(".tile").focus();
});

// Who looks at the top of the library sees new images come; others are told that there are some.
function tellNews() {
  const isLibrary = line.textContent && whole.name === "";
  const isBusy = dialog.open || numSelected() || grid.contains(document.activeElement);
  if (!isLibrary || isBusy || window.scrollY > 300) {
    news.hidden = false;
  } else if (Date.now() - renewed < 8000) { // not faster than one can look
    clearTimeout(waiting);
    waiting = setTimeout(tellNews, 8000);
  } else {
    trigger("again", { index: 0 });
  }
}

function focusQuery(event) {
  const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  if (event.key !== "/" || isTyping || dialog.open || event.ctrlKey || event.metaKey) return;
  const query = document.querySelector("#query textarea, #query input");
  if (!query || !query.offsetParent) return; // on another tab
  event.preventDefault();
  query.focus();
  query.select();
}

news.addEventListener("click", () => trigger("again", { index: 0 }));
document.addEventListener("indexed", tellNews);
document.addEventListener("keydown", focusQuery);
window.addEventListener("scroll", askIfNear, { passive: true });
window.addEventListener("resize", askIfNear, { passive: true });
