// Sliders over frames that were drawn beforehand. A frame and its sentence change together, once the frame has arrived.
document.documentElement.classList.add("moves"); // the style sheet shows the sliders, and hides the saved pictures

function makeMove(hero) {
  const controls = [...hero.querySelectorAll("input, select")];
  const image = hero.querySelector("img");
  const caption = hero.querySelector("figcaption");
  const sentences = JSON.parse(hero.querySelector("script").textContent);
  const address = (key) => `${hero.dataset.frames}/${key}.webp`;
  let wanted = null;

  async function show() {
    for (const control of controls.filter((one) => one.type === "range")) {
      const text = JSON.parse(control.dataset.texts)[control.value];
      control.setAttribute("aria-valuetext", text);
      control.nextElementSibling.textContent = text;
    }
    const key = controls.map((control) => control.value).join("-");
    const next = new Image();
    wanted = key;
    next.src = address(key);
    try {
      await next.decode();
    } catch {
      if (wanted === key) caption.textContent = "This picture could not be loaded; the one above is the last that was.";
      return;
    }
    if (wanted !== key) return; // the slider has moved on
    image.src = next.src;
    image.alt = `${hero.dataset.alt} ${sentences[key]}`;
    caption.textContent = sentences[key];
    hero.dataset.shown = key;
  }

  function fetchAll() {
    for (const key of Object.keys(sentences)) new Image().src = address(key);
  }

  hero.dataset.alt = image.alt;
  hero.addEventListener("input", show);
  hero.addEventListener("pointerenter", fetchAll, { once: true });
  hero.addEventListener("focusin", fetchAll, { once: true });
  show();
}

addEventListener("DOMContentLoaded", () => document.querySelectorAll(".hero").forEach(makeMove));
