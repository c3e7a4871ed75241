// Hands a file to the browser's downloads: {name, type, text} or {name, type, base64}.
function save() {
  const file = props.value;
  if (!file) return;
  const content = file.base64 === undefined
    ? file.text
    : Uint8Array.from(atob(file.base64), (letter) => letter.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: file.type }));
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
watch("value", save);
