// An HTML page that is a report, shown without scripts, and to be taken along as a file.
const frame = element.querySelector("iframe");
const button = element.querySelector("button");

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([props.value], { type: "text/html" }));
  link.download = props.file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function show() {
  button.hidden = frame.hidden = !props.value;
  if (props.value) frame.srcdoc = props.value;
}

button.addEventListener("click", save);
watch("value", show);
show();
