// Images with buttons below each: {told, actions, items: [{image, file, note, is_found, picked}]}.
const told = element.querySelector(".told");
const list = element.querySelector("ul");
const address = (key) => new URL("gradio_api/file=" + key, document.baseURI).href;

function make(tag, name, text) {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

function tile(item, place, actions) {
  const entry = document.createElement("li");
  const image = document.createElement("img");
  image.loading = "lazy";
  image.alt = item.file;
  image.src = address(item.image);
  const buttons = make("div", "actions", "");
  actions.forEach((action, number) => {
    const button = make("button", "", action);
    button.type = "button";
    button.setAttribute("aria-label", item.file + ": " + action);
    button.setAttribute("aria-pressed", String(item.picked === number));
    button.addEventListener("click", () => {
      for (const other of buttons.children) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", "true");
      trigger("pick", { index: place * actions.length + number });
    });
    buttons.append(button);
  });
  entry.append(image, make("div", "file", item.file), make("div", "note" + (item.is_found ? " is_found" : ""), item.note || ""), buttons);
  return entry;
}

function show() {
  const value = props.value;
  told.textContent = value ? value.told : "";
  list.replaceChildren(...(value ? value.items.map((item, place) => tile(item, place, value.actions)) : []));
}

watch("value", show);
show();
