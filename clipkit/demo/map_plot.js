// The map: {number, x, y, ids, files, colors: [{title, names, of, is_ordered, num_named}]}, a column
// for each thing that is known of the points. Drawn here, or by Embedding Atlas where WebGPU is.
const find = (name) => element.querySelector(name);
const canvas = find("canvas");
const context = canvas.getContext("2d");
const select = find("select");
const hover = find(".hover");
const frame = find("iframe");
// Colours that are told apart on light and on dark, by most who see few of them.
const COLORS = ["#4269d0", "#efb118", "#e6553f", "#2a9d8f", "#3ca951", "#d96fa0", "#a463f2", "#6ba3e8", "#9c6b4e"];
const OTHERS = "#8b8f97";
const YEARS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [235, 211, 40]]; // matplotlib's viridis
const REACH = 14; // pixels from the pointer to a point that is meant
let map = null;
let coloring = null;
let only = -1; // the group that is shown alone
let zoom = 1, left = 0, top_ = 0; // where the unit square lies, in shares of the side
let pointed = -1, chosen = -1;
let hasAtlas = false, isAtlas = false, shownIn = 0;
const fingers = new Map(); // pointers that are down
let moved = 0, spread = 0;

const address = (key) => new URL("gradio_api/file=" + key, document.baseURI).href;
const width = () => canvas.clientWidth;
const height = () => canvas.clientHeight;
const side = () => 0.92 * Math.min(width(), height());
const place = (at) => [
  width() / 2 + (map.x[at] - 0.5 + left) * side() * zoom,
  height() / 2 + (0.5 - map.y[at] + top_) * side() * zoom,
];

function colorOf(group) {
  if (!coloring || group >= coloring.num_named) return coloring ? OTHERS : COLORS[0];
  if (!coloring.is_ordered) return COLORS[group % COLORS.length];
  const at = (coloring.num_named < 2 ? 0 : group / (coloring.num_named - 1)) * (YEARS.length - 1);
  const low = Math.min(Math.floor(at), YEARS.length - 2);
  return "rgb(" + YEARS[low].map((value, channel) => Math.round(value + (at - low) * (YEARS[low + 1][channel] - value))) + ")";
}

function dot(at, radius, color) {
  const [x, y] = place(at);
  if (x < -radius || y < -radius || x > width() + radius || y > height() + radius) return;
  context.fillStyle = color;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

function ring(at, color) {
  const [x, y] = place(at);
  context.strokeStyle = color;
  context.lineWidth = 2.5;
  context.beginPath();
  context.arc(x, y, radius() + 4, 0, 2 * Math.PI);
  context.stroke();
}

const radius = () => Math.min(9, Math.max(2, 60 / Math.sqrt(map.x.length)) * Math.sqrt(zoom) ** 0.8);

let isDue = false;
function draw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    if (!map || !width()) return;
    const scale = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width() * scale) || canvas.height !== Math.round(height() * scale)) {
      canvas.width = Math.round(width() * scale);
      canvas.height = Math.round(height() * scale);
    }
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width(), height());
    const text = getComputedStyle(canvas).color;
    const size = radius();
    const colors = coloring ? Array.from({ length: coloring.num_named + 1 }, (_, group) => colorOf(group)) : [COLORS[0]];
    context.globalAlpha = map.x.length > 2000 ? 0.7 : 0.9;
    const isAbove = (group) => (only < 0 ? !coloring || group < coloring.num_named : group === only);
    for (const isFront of [false, true]) { // groups that are named, or shown alone, lie above the others
      map.x.forEach((_, at) => {
        const group = coloring ? coloring.of[at] : 0;
        if (isAbove(group) !== isFront) return;
        const isShown = only < 0 || group === only;
        if (!isShown) context.globalAlpha = 0.12;
        dot(at, size, isShown ? colors[group] : OTHERS);
      });
      context.globalAlpha = map.x.length > 2000 ? 0.7 : 0.9;
    }
    context.globalAlpha = 1;
    if (pointed >= 0) ring(pointed, text);
    if (chosen >= 0) ring(chosen, text);
  });
}

// The point closest to a place of the canvas; -1 if none is near enough.
function closest(x, y, reach) {
  let best = -1, least = reach * reach;
  for (let at = 0; at < map.x.length; at += 1) {
    if (only >= 0 && coloring.of[at] !== only) continue;
    const [otherX, otherY] = place(at);
    const far = (otherX - x) ** 2 + (otherY - y) ** 2;
    if (far < least) [best, least] = [at, far];
  }
  return best;
}

function point(at) {
  if (at === pointed) return;
  pointed = at;
  hover.hidden = at < 0;
  canvas.style.cursor = at < 0 ? "" : "pointer";
  if (at >= 0) {
    const [x, y] = place(at);
    picture(hover.querySelector("img"), at);
    hover.querySelector("span").textContent = map.files[at];
    hover.style.left = Math.max(4, Math.min(x + 14, width() - 192)) + "px";
    hover.style.top = Math.max(4, Math.min(y + 14, height() - 176)) + "px";
  }
  draw();
}

function picture(image, at) {
  image.onerror = () => { image.alt = "This image is gone, or has changed since it was indexed."; };
  image.alt = map.files[at];
  image.src = address(map.ids[at]);
}

function choose(at) {
  chosen = at;
  find(".chosen").hidden = at < 0;
  if (at >= 0) {
    picture(find(".chosen img"), at);
    find(".file").textContent = map.files[at];
    find(".facts").textContent = map.colors.map((each) => each.title + ": " + each.names[each.of[at]]).join("  ·  ");
  }
  draw();
}

// Zooms by a factor about a place of the canvas.
function zoomBy(factor, x = width() / 2, y = height() / 2) {
  const next = Math.min(Math.max(zoom * factor, 0.8), 400);
  const shift = (1 / next - 1 / zoom) / side();
  left += (x - width() / 2) * shift;
  top_ += (y - height() / 2) * shift;
  zoom = next;
  point(-1);
  draw();
}

function moveBy(x, y) {
  left += x / (side() * zoom);
  top_ += y / (side() * zoom);
  point(-1);
  draw();
}

function showAll() {
  zoom = 1;
  left = top_ = 0;
  point(-1);
  draw();
}

// The closest point in a direction, within 45 degrees of it.
function step(directionX, directionY) {
  const [x, y] = chosen >= 0 ? place(chosen) : [width() / 2, height() / 2];
  if (chosen < 0) return choose(closest(x, y, Infinity));
  let best = -1, least = Infinity;
  map.x.forEach((_, at) => {
    if (at === chosen || (only >= 0 && coloring.of[at] !== only)) return;
    const [otherX, otherY] = place(at);
    const along = (otherX - x) * directionX + (otherY - y) * directionY;
    const across = Math.abs((otherX - x) * directionY) + Math.abs((otherY - y) * directionX);
    if (along > 0 && along >= across && along + across < least) [best, least] = [at, along + across];
  });
  if (best < 0) return;
  choose(best);
  const [nextX, nextY] = place(best); // stays in sight
  const out = (value, size) => (value < 20 ? 60 - value : value > size - 20 ? size - 60 - value : 0);
  const [backX, backY] = [out(nextX, width()), out(nextY, height())];
  if (backX || backY) moveBy(backX, backY);
}

canvas.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const [x, y] = chosen >= 0 ? place(chosen) : [undefined, undefined];
  if (steps[event.key]) step(...steps[event.key]);
  else if (event.key === "+" || event.key === "=") zoomBy(1.5, x, y);
  else if (event.key === "-") zoomBy(1 / 1.5, x, y);
  else if (event.key === "0") showAll();
  else if (event.key === "Escape") choose(-1);
  else return;
  event.preventDefault();
});

canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event.offsetX, event.offsetY);
}, { passive: false });

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
  moved = fingers.size > 1 ? Infinity : 0;
  spread = 0;
});

canvas.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) {
    point(closest(event.offsetX, event.offsetY, REACH));
    return;
  }
  const [x, y] = [event.offsetX - before[0], event.offsetY - before[1]];
  moved += Math.hypot(x, y);
  fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
  if (moved > 4 && fingers.size === 1) moveBy(x, y);
  if (fingers.size === 2) {
    const [[oneX, oneY], [twoX, twoY]] = fingers.values();
    const now = Math.hypot(oneX - twoX, oneY - twoY);
    moveBy(x / 2, y / 2);
    if (spread) zoomBy(now / spread, (oneX + twoX) / 2, (oneY + twoY) / 2);
    spread = now;
  }
});

function lift(event) {
  if (fingers.delete(event.pointerId) && event.type === "pointerup" && moved <= 4) {
    choose(closest(event.offsetX, event.offsetY, event.pointerType === "touch" ? 2 * REACH : REACH));
  }
}
canvas.addEventListener("pointerup", lift);
canvas.addEventListener("pointercancel", lift);
canvas.addEventListener("pointerleave", () => point(-1));
canvas.addEventListener("dblclick", (event) => zoomBy(2, event.offsetX, event.offsetY));
find(".in").addEventListener("click", () => zoomBy(1.5));
find(".out").addEventListener("click", () => zoomBy(1 / 1.5));
find(".all").addEventListener("click", showAll);

function entry(name, group) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  const swatch = document.createElement("i");
  swatch.style.background = colorOf(group);
  const label = document.createElement("span");
  label.className = "name";
  label.textContent = name;
  const count = document.createElement("span");
  count.className = "count";
  count.textContent = coloring.of.reduce((sum, other) => sum + (other === group), 0).toLocaleString();
  button.append(swatch, label, count);
  button.setAttribute("aria-pressed", String(only === group));
  button.title = "Show these alone";
  button.addEventListener("click", () => {
    only = only === group ? -1 : group;
    for (const other of item.parentNode.querySelectorAll("button")) other.setAttribute("aria-pressed", String(only === group && other === button));
    point(-1);
    draw();
  });
  item.append(button);
  return item;
}

function color() {
  coloring = map.colors[Number(select.value)] || null;
  only = -1;
  find(".legend").replaceChildren(...(coloring ? coloring.names.map(entry) : []));
  draw();
}
select.addEventListener("change", color);

function showView() {
  find(".plot").hidden = isAtlas || !map;
  frame.hidden = !isAtlas || !map;
  find(".by").hidden = isAtlas || !map || !map.colors.length;
  find(".lack").hidden = hasAtlas || !map;
  find(".views").hidden = !hasAtlas;
  find(".plain").setAttribute("aria-pressed", String(!isAtlas));
  find(".atlas").setAttribute("aria-pressed", String(isAtlas));
  if (isAtlas && map && shownIn !== map.number) {
    shownIn = map.number;
    frame.src = new URL("map/?" + map.number, document.baseURI).href;
  }
  draw();
}
find(".plain").addEventListener("click", () => { isAtlas = false; showView(); });
find(".atlas").addEventListener("click", () => { isAtlas = true; showView(); });

function show() {
  map = props.value && props.value.x ? props.value : null;
  find(".choices").hidden = !map;
  if (map) {
    const before = select.selectedOptions[0]?.textContent;
    select.replaceChildren(...map.colors.map((each, number) => {
      const option = new Option(each.title, String(number));
      option.selected = each.title === before;
      return option;
    }));
    canvas.setAttribute("aria-label", "Map of " + map.x.length.toLocaleString() + " images: the arrow keys go from image to image, plus and minus zoom, 0 shows the whole map");
    pointed = -1;
    hover.hidden = true;
    choose(-1);
    showAll();
    color();
  }
  showView();
}

// What Embedding Atlas asks of a browser before it draws.
async function findAtlas() {
  const adapter = navigator.gpu?.wgslLanguageFeatures ? await navigator.gpu.requestAdapter().catch(() => null) : null;
  hasAtlas = isAtlas = Boolean(adapter && adapter.features.has("shader-f16"));
  showView();
}

new ResizeObserver(draw).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
watch("value", show);
show();
findAtlas();
