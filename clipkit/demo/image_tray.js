// A tray that images are dropped into. Its value is the ids of its images, with spaces between.
const find = (name) => element.querySelector("." + name);
const drop = find("drop");
const input = element.querySelector("input");
const list = find("images");
const told = find("told");
const clear = find("clear");
let items = []; // {id, name}
let sending = Promise.resolve();

const address = (key) => new URL("gradio_api/file=" + key, document.baseURI).href;

function tell(text, isWrong) {
  told.textContent = text;
  told.classList.toggle("wrong", Boolean(isWrong));
}

function draw() {
  list.replaceChildren(...items.map((item, place) => {
    const entry = document.createElement("li");
    const image = document.createElement("img");
    image.src = address(item.id + "-small");
    image.alt = item.name;
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "✕";
    remove.setAttribute("aria-label", "Remove " + item.name);
    remove.addEventListener("click", () => {
      items.splice(place, 1);
      publish();
      const next = list.querySelectorAll("button")[Math.min(place, items.length - 1)];
      (next || drop).focus();
    });
    entry.append(image, remove);
    return entry;
  }));
  clear.hidden = items.length < 2;
}

function publish() {
  props.value = items.map((item) => item.id).join(" ");
  draw();
  trigger("change");
}

async function send(file) {
  if (file.size > props.max_bytes) {
    throw new Error(file.name + ": an image may have up to " + Math.floor(props.max_bytes / 1e6) + " MB");
  }
  const form = new FormData();
  form.append("files", file);
  const answer = await fetch(new URL("gradio_api/upload", document.baseURI), { method: "POST", body: form });
  if (answer.ok) return (await answer.json())[0];
  const text = await answer.text();
  let reason = new DOMParser().parseFromString(text, "text/html").documentElement.textContent;
  try { reason = JSON.parse(text).detail; } catch { /* it is a sentence */ }
  throw new Error(reason);
}

async function take(files) {
  const wrong = [];
  for (const [place, file] of files.entries()) {
    if (items.length >= props.most) {
      wrong.push("Up to " + props.most + " images: the others were left out.");
      break;
    }
    tell("Reading " + (place + 1) + " of " + files.length + " …");
    try {
      items.push({ id: await send(file), name: file.name });
      draw();
    } catch (error) {
      wrong.push(error.message);
    }
  }
  tell(wrong.slice(0, 3).join("  ·  ") + (wrong.length > 3 ? "  ·  and " + (wrong.length - 3) + " more" : ""), true);
  publish();
}

function add(files) {
  const some = [...files];
  if (some.length) sending = sending.then(() => take(some));
}

// Another component puts an image of the library into one of several trays.
function put({ id, name, tray, trays }) {
  if (!trays.includes(props.tray)) return;
  const others = items.filter((item) => item.id !== id);
  const isMine = tray === props.tray;
  if (isMine && others.length >= props.most) {
    tell("Up to " + props.most + " images: remove one first.", true);
    return;
  }
  if (!isMine && others.length === items.length) return;
  items = isMine ? [...others, { id, name }] : others;
  tell("");
  publish();
}

function show() {
  const ids = (props.value || "").split(" ").filter(Boolean);
  if (ids.join(" ") === items.map((item) => item.id).join(" ")) return;
  items = ids.map((id, place) => ({ id, name: "image " + (place + 1) }));
  tell("");
  draw();
}

find("title").textContent = props.title;
find("ask").textContent = "Drop images here, or click to choose";
find("most").textContent = "Up to " + props.most;
drop.setAttribute("aria-label", props.title + ": drop images here, or click to choose");
drop.addEventListener("click", () => input.click());
input.setAttribute("aria-label", props.title);
input.addEventListener("change", () => { add(input.files); input.value = ""; });
clear.addEventListener("click", () => { items = []; tell(""); publish(); drop.focus(); });
for (const name of ["dragenter", "dragover"]) {
  element.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) {
  element.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
}
element.addEventListener("drop", (event) => add(event.dataTransfer.files));
document.addEventListener("clipkit-put", (event) => put(event.detail));
watch("value", show);
show();
