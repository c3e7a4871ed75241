// A table that is chosen or dropped. It is read here, and its text is the value.
const choose = element.querySelector(".choose");
const input = element.querySelector("input");
const told = element.querySelector(".told");

let text = ""; // what was read; a page that is still being set up may put its own first value back

async function take(file) {
  if (!file) return;
  told.classList.toggle("wrong", file.size > props.max_bytes);
  if (file.size > props.max_bytes) {
    told.textContent = file.name + ": " + props.too_large;
    text = props.value = "";
    return;
  }
  text = await file.text();
  props.value = text;
  const rows = text.split("\n").filter((line) => line.trim()).length - 1;
  trigger("change");
  await new Promise((done) => setTimeout(done, 50)); // what is sent next has the new value
  told.textContent = file.name + ": " + Math.max(0, rows) + " rows";
}

watch("value", () => {
  if (text && props.value !== text) props.value = text;
});
choose.textContent = props.title;
input.setAttribute("aria-label", props.title);
choose.addEventListener("click", () => input.click());
input.addEventListener("change", () => { take(input.files[0]); input.value = ""; });
for (const name of ["dragenter", "dragover"]) {
  element.addEventListener(name, (event) => { event.preventDefault(); choose.classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) {
  element.addEventListener(name, (event) => { event.preventDefault(); choose.classList.remove("over"); });
}
element.addEventListener("drop", (event) => take(event.dataTransfer.files[0]));
