// Tells the server which boxes of the page's case table are ticked. The table itself is the page's own HTML.
export default function (component) {
  const { setStateValue } = component;
  const changed = (event) => {
    if (!(event.target instanceof HTMLInputElement) || !event.target.matches("input.ml-pick")) return;
    const boxes = [...document.querySelectorAll("input.ml-pick")];
    setStateValue("picked", {
      shown: boxes.map((box) => Number(box.dataset.case)),
      ticked: boxes.filter((box) => box.checked).map((box) => Number(box.dataset.case)),
      // The same ticks after another page are news, too.
      at: Date.now(),
    });
  };
  document.addEventListener("change", changed);
  return () => document.removeEventListener("change", changed);
}
