// What was made of the selected images: a text to copy or to save, a page to save.
const dialog = element.querySelector("dialog");
const part = (name) => dialog.querySelector("." + name);

function show() {
  const made = props.value;
  if (!made || typeof made !== "object") return;
  const isPage = made.type === "text/html";
  part("note").textContent = made.told;
  part("text").hidden = part("copy").hidden = isPage;
  part("text").value = isPage ? "" : made.text;
  part("copy").textContent = "Copy";
  if (!dialog.open) dialog.showModal();
}

async function copy() {
  const text = part("text");
  try {
    await navigator.clipboard.writeText(text.value);
  } catch (error) { // not allowed, as on a page without https
    text.focus();
    text.select();
    document.execCommand("copy");
  }
  part("copy").textContent = "Copied";
}

function save() {
  const made = props.value;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([made.text], { type: made.type + ";charset=utf-8" }));
  link.download = made.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

part("copy").addEventListener("click", copy);
part("save").addEventListener("click", save);
part("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
watch("value", show);
