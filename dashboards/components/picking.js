// Tells the server which boxes of the page's case table are ticked. The table itself is the page's own HTML.
// What was told last: what the server did not keep, because too many are picked, is not told it again.
let told = "";

export default function (component) {
  const { setStateValue } = component;
  const isBox = (element) => element instanceof HTMLInputElement && element.matches("input.ml-pick");
  const tell = (heard) => {
    const boxes = [...document.querySelectorAll("input.ml-pick")];
    const shown = boxes.map((box) => Number(box.dataset.case));
    const ticked = boxes.filter((box) => box.checked).map((box) => Number(box.dataset.case));
    const now = JSON.stringify([shown, ticked]);
    if (!heard && (now === told || boxes.every((box) => box.checked === box.defaultChecked))) return;
    told = now;
    // The same ticks after another page are news, too.
    setStateValue("picked", { shown, ticked, at: Date.now() });
  };
  const changed = (event) => isBox(event.target) && tell(true);
  document.addEventListener("change", changed);
  // The table is on the screen before anybody listens: ticks of that moment differ from what the server drew.
  tell(false);
  return () => document.removeEventListener("change", changed);
}
