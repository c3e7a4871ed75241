// What is done so far, and the table of several images. Texts are set as text, never as markup.
const find = (name) => element.querySelector(name);
const body = find("tbody");
const filter = find("select");
const ALL = ""; // of the filter
const NONE = "no label"; // where several may apply
let rows = [];
let shown = 0;

const address = (key) => new URL("gradio_api/file=" + key, document.baseURI).href;
const percent = (score) => Math.round(100 * score) + " %";

function make(tag, name, text) {
  const made = document.createElement(tag);
  made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function row(item, place) {
  const line = document.createElement("tr");
  const first = document.createElement("td");
  const pick = make("button", "pick");
  pick.type = "button";
  const image = make("img", "");
  image.loading = "lazy";
  image.alt = "";
  image.src = address(item.image);
  pick.append(image, make("span", "", item.file));
  pick.addEventListener("click", () => { mark(place); trigger("pick", { index: place }); });
  first.append(pick);
  const best = make("td", "best", item.lack);
  const given = item.labels.slice(0, item.given);
  for (const [label, score] of given) best.append(make("span", "", label), " ", make("small", "", percent(score)), " ");
  if (!item.lack && !given.length) best.append(make("small", "", NONE));
  const others = item.labels.slice(item.given).map(([label, score]) => label + " " + percent(score));
  line.append(first, best, make("td", "others", others.join(", ")));
  return line;
}

const groups = (item) => item.lack ? [] : item.given ? item.labels.slice(0, item.given).map(([label]) => label) : [NONE];

function mark(place) {
  if (body.children[shown]) body.children[shown].classList.remove("shown");
  shown = place;
  if (body.children[shown]) body.children[shown].classList.add("shown");
}

function choices() {
  const counts = new Map();
  for (const name of rows.flatMap(groups)) counts.set(name, (counts.get(name) || 0) + 1);
  const chosen = filter.value;
  const names = [...counts].sort((one, other) => other[1] - one[1]);
  filter.replaceChildren(new Option("all images (" + rows.length + ")", ALL), ...names.map(([name, count]) => new Option(name + " (" + count + ")", name)));
  filter.value = counts.has(chosen) ? chosen : ALL;
}

function sift() {
  rows.forEach((item, place) => {
    body.children[place].hidden = filter.value !== ALL && !groups(item).includes(filter.value);
  });
}

function show() {
  const value = props.value;
  if (!value) return;
  find(".told").textContent = value.told;
  const bar = find("progress");
  bar.hidden = value.is_done;
  if (value.total) { bar.max = value.total; bar.value = value.done; } else bar.removeAttribute("value");
  const isMore = value.rows.length >= rows.length && rows.every((item, place) => JSON.stringify(item) === JSON.stringify(value.rows[place]));
  if (!isMore) { rows = []; body.replaceChildren(); filter.value = ALL; }
  body.append(...value.rows.slice(rows.length).map((item, place) => row(item, rows.length + place)));
  if (!isMore || !rows.length) mark(0);
  rows = value.rows;
  find(".many").hidden = value.total < 2;
  choices();
  sift();
  if (value.is_done && element.getBoundingClientRect().top > window.innerHeight - 120) {
    element.scrollIntoView({ behavior: "smooth" }); // on a phone it is below what is seen
  }
}

filter.setAttribute("aria-label", "Show the images of a label");
filter.addEventListener("change", sift);
find(".save").addEventListener("click", () => trigger("save"));
watch("value", show);
show();
