// Once there is a value the page is served anew: it is opened again as soon as the other one answers.
const WAIT = 500; // milliseconds between two questions

async function ask() {
  try {
    const answer = await fetch(new URL("config", document.baseURI), { cache: "no-store" });
    if (answer.ok && (await answer.json()).app_id !== window.gradio_config.app_id) {
      location.reload();
      return;
    }
  } catch (error) { // nobody answers: the old one has ended, the new one has not begun
  }
  setTimeout(ask, WAIT);
}

watch("value", () => { if (props.value) ask(); });
