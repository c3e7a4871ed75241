// Images with buttons below each, that put it into one of several trays:
// {told, trays: [[what the button says, the tray's name]], items: [{image, file, note, is_found, picked}]}.
const told = element.querySelector(".told");
const list = element.querySelector("ul");
const address = (key) => new URL("gradio_api/file=" + key, document.baseURI).href;

function make(tag, name, text) {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

// To the trays at once, without the server: of two quick clicks none is lost.
function put(item, name, trays) {
  const id = item.image.replace("-small", "");
  const detail = { id, name: item.file, tray: name, trays: trays.map(([, other]) => other) };
  document.dispatchEvent(new CustomEvent("clipkit-put", { detail }));
}

function tile(item, trays) {
  const entry = document.createElement("li");
  const image = document.createElement("img");
  image.loading = "lazy";
  image.alt = item.file;
  image.src = address(item.image);
  const buttons = make("div", "actions", "");
  trays.forEach(([action, name]) => {
    const button = make("button", "", action);
    button.type = "button";
    button.setAttribute("aria-label", item.file + ": " + action);
    button.setAttribute("aria-pressed", String(item.picked === name));
    button.addEventListener("click", () => {
      for (const other of buttons.children) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", "true");
      put(item, name, trays);
    });
    buttons.append(button);
  });
  entry.append(image, make("div", "file", item.file), make("div", "note" + (item.is_found ? " is_found" : ""), item.note || ""), buttons);
  return entry;
}

function show() {
  const value = props.value;
  told.textContent = value ? value.told : "";
  list.replaceChildren(...(value ? value.items.map((item) => tile(item, value.trays)) : []));
}

watch("value", show);
show();
