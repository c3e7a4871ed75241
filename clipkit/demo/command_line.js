// A sentence and a command to be copied: {told, command}.
const code = element.querySelector("code");
const button = element.querySelector("button");

async function copy() {
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch (error) { // not allowed, as on a page without https
    getSelection().selectAllChildren(code);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
}

function show() {
  const value = props.value;
  element.querySelector(".answer").hidden = !value;
  if (!value) return;
  element.querySelector("p").textContent = value.told;
  element.querySelector(".command").hidden = !value.command;
  code.textContent = value.command;
  button.textContent = "Copy";
}

button.addEventListener("click", copy);
watch("value", show);
show();
