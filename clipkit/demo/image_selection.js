// Which images of the grid are selected, and what is to be made of them. Follows image_grid.js.
const bar = element.querySelector(".chosen");
const all = element.querySelector(".all");
let whole = { count: 0, name: "" }; // of how many images "select all" means, and what they are
let isAll = false; // whether all that belong are selected, also those further down
let toggled = new Map(); // by id: the image that was selected, or with isAll taken out
let last = -1; // the place that was picked last, where a range begins

const key = (item) => item.image.path.replace("-small", "");
const isSelected = (item) => (isAll && item.belongs) !== toggled.has(key(item));

function picker(item, place) {
  const label = make("label", "pick");
  const box = make("input", "");
  box.type = "checkbox";
  box.setAttribute("aria-label", "Select " + item.file);
  box.addEventListener("click", (event) => pick(place, event.shiftKey));
  label.append(box);
  return label;
}

function select(item, wanted) {
  if (isSelected(item) === wanted) return;
  if (!toggled.delete(key(item))) toggled.set(key(item), item);
}

// The range from the image picked before to this one becomes as this one becomes.
function pick(place, isRange) {
  const wanted = !isSelected(items[place]);
  const from = isRange && items[last] ? last : place;
  for (const item of items.slice(Math.min(from, place), Math.max(from, place) + 1)) {
    select(item, wanted);
  }
  last = place;
  showSelection();
}

function selectNone() {
  isAll = false;
  toggled.clear();
  last = -1;
  showSelection();
}

function numSelected() {
  let count = isAll ? whole.count : 0;
  for (const item of toggled.values()) count += isAll && item.belongs ? -1 : 1;
  return count;
}

// From one place on: what is read on as one scrolls leaves the thousands above as they are.
function showSelection(first = 0) {
  const count = numSelected();
  for (let place = first; place < tiles.length; place += 1) {
    const is = isSelected(items[place]);
    tiles[place].classList.toggle("selected", is);
    tiles[place].querySelector(".pick input").checked = is;
  }
  grid.classList.toggle("selecting", count > 0);
  bar.hidden = count === 0;
  bar.querySelector(".number").textContent = count.toLocaleString() + " selected";
  all.hidden = whole.count === 0 || (isAll && toggled.size === 0);
  all.textContent = "Select all " + whole.count.toLocaleString() + whole.name;
}

all.addEventListener("click", () => {
  isAll = true;
  toggled.clear();
  showSelection();
});
bar.querySelector(".none").addEventListener("click", selectNone);
for (const button of bar.querySelectorAll("[data-kind]")) {
  button.addEventListener("click", () =>
    trigger("take", { index: [...toggled.keys()], value: button.dataset.kind, selected: isAll }));
}
grid.addEventListener("keydown", (event) => { if (event.key === "Escape") selectNone(); });

watch("value", show);
show();
