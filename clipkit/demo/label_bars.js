// One image, how well each label fits it, and where: the heat map is drawn over the image.
const find = (name) => element.querySelector(name);
const section = find("section");
const picture = find("figure img");
const canvas = find("canvas");
const list = find("ol");
const legend = find(".legend");
// matplotlib's inferno, as clipkit explain draws it, at even steps.
const COLORS = [[0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164]];
let shown = ""; // the id of the image

const address = (key) => new URL("gradio_api/file=" + key, document.baseURI).href;
const percent = (score) => (score > 0 && score < 0.001 ? "< 0.1" : (100 * score).toFixed(1)) + " %";

function color(share) {
  const at = Math.min(Math.max(share, 0), 1) * (COLORS.length - 1);
  const low = Math.min(Math.floor(at), COLORS.length - 2);
  return COLORS[low].map((value, channel) => value + (at - low) * (COLORS[low + 1][channel] - value));
}

function bar([label, score], rank, map, isPlain) {
  const item = document.createElement("li");
  item.style.setProperty("--share", 100 * score + "%");
  const name = document.createElement("span");
  name.className = "label";
  name.textContent = label;
  const share = document.createElement("span");
  share.className = "percent";
  share.textContent = percent(score);
  item.append(name, share);
  if (!isPlain) {
    const where = document.createElement("button");
    where.type = "button";
    const isBusy = map && map.label === label && "share" in map;
    where.textContent = isBusy ? Math.round(100 * map.share) + " %" : "Where?";
    where.setAttribute("aria-label", "Where in the image: " + label);
    where.addEventListener("click", () => {
      where.textContent = "…";
      trigger("explain", { index: rank });
    });
    item.append(where);
  }
  item.classList.toggle("shown", Boolean(map && map.label === label && map.values));
  return item;
}

function draw(map) {
  const hasValues = Boolean(map && map.values);
  canvas.hidden = legend.hidden = !hasValues;
  if (!hasValues) return;
  const [low, there] = map.levels;
  const high = Math.max(2 * there - low, low + 1e-9); // the middle of the colours: there from here on
  const small = document.createElement("canvas");
  small.width = map.values[0].length;
  small.height = map.values.length;
  const pixels = small.getContext("2d").createImageData(small.width, small.height);
  map.values.flat().forEach((value, place) => {
    pixels.data.set([...color((value - low) / (high - low)), 255], 4 * place);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  const [left, top, width, height] = map.box;
  for (const [side, share] of Object.entries({ left, top, width, height })) canvas.style[side] = 100 * share + "%";
  canvas.width = 32 * small.width;
  canvas.height = 32 * small.height;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  const isThere = map.is_there ? "is there" : "is not there";
  find(".verdict").textContent = "“" + map.label + "” " + isThere + ". " + map.verdict.replace(/^(not )?there: /, "").replace(/^./, (letter) => letter.toUpperCase()) + ".";
  find(".scale").style.background = "linear-gradient(90deg," + COLORS.map((each) => "rgb(" + each + ")") + ")";
  find(".low").textContent = low.toFixed(2);
  find(".mid").textContent = "there from cosine " + there.toFixed(2);
  find(".high").textContent = high.toFixed(2);
}

function show() {
  const value = props.value;
  section.hidden = !value;
  if (!value) return;
  if (shown !== value.image) {
    shown = value.image;
    picture.src = address(value.image);
    if (value.is_picked) section.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }
  picture.alt = value.file;
  find("h2").textContent = value.file;
  find(".lack").hidden = !value.lack;
  find(".lack").textContent = value.lack;
  const focused = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(...value.labels.map((each, rank) => bar(each, rank, value.map, each[0] === "none of these")));
  if (focused >= 0) list.querySelectorAll("button")[focused]?.focus();
  draw(value.map);
}

find(".hide").addEventListener("click", () => { canvas.hidden = !canvas.hidden; find(".hide").textContent = canvas.hidden ? "Show the heat map" : "Hide the heat map"; });
watch("value", show);
show();
