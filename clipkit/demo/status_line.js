// A line of words, which is read out when it changes.
const line = element.querySelector("p");
const tell = () => { line.textContent = props.value || ""; };
watch("value", tell);
tell();
