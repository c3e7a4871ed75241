// How many images there are, and how far the indexing is; asked again and again.
const SOON = 1500, LATER = 20000; // milliseconds
const button = element.querySelector("button");
const bar = element.querySelector("progress");
let version = null;
let timer = 0;
let patience = 0; // how often to ask soon, after somebody has asked to look

function show() {
  const state = props.value;
  if (!state || typeof state !== "object") return;
  element.querySelector(".images").textContent = state.images;
  element.querySelector(".told").textContent = state.told;
  bar.hidden = state.share === null;
  if (!bar.hidden) bar.value = state.share;
  button.hidden = !state.button;
  button.textContent = state.button === "pause" ? "Pause" : state.is_paused ? "Go on" : "Look for new images";
  if (version !== null && version !== state.version) document.dispatchEvent(new Event("indexed"));
  version = state.version;
  patience -= 1;
  wait(state.share !== null || patience > 0 ? SOON : LATER);
}

function wait(time) {
  clearTimeout(timer);
  timer = setTimeout(() => (document.hidden ? wait(time) : trigger("ask", {})), time);
}

button.addEventListener("click", () => {
  patience = 4;
  trigger(props.value.button === "pause" ? "pause" : "look", {});
  wait(SOON);
});
watch("value", show);
show();
