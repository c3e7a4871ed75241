// A line of words, read out when it changes, and a bar: {told, share}, of which a share of null is no bar.
const bar = element.querySelector("progress");
function tell() {
  const value = props.value || { told: "", share: null };
  element.querySelector(".told").textContent = value.told;
  bar.hidden = value.share === null;
  if (!bar.hidden) bar.value = value.share;
}
watch("value", tell);
tell();
