// The viewer of a case: NiiVue's canvases, and around them controls that a keyboard reaches, too.
//
// Python gives addresses of volumes and what their values mean (volume_viewer.py); everything that a person moves
// here stays here, so nothing of the page is drawn anew. NiiVue is told three things it does not know: that a label's
// color is never mixed with its neighbour's, that nobody sees gradients of the image, and how to color a volume where
// no graphics card does it.

const VIEWS = [
  ["all", "All planes"],
  ["axial", "Axial"],
  ["coronal", "Coronal"],
  ["sagittal", "Sagittal"],
  ["render", "3D"],
]
// Units of NiiVue's textures: the gradient that lights a rendering, and what it is computed from.
const GRADIENT_SOURCE = 33992
// NiiVue's shader never looks into the first two 256ths of a table: with labels up to 255 those must not be labels.
const LABELS_BEFORE = 3
const SLAB_VOXELS = 1 << 21
const viewers = new WeakMap()

export default function (component) {
  const { data, parentElement } = component
  let viewer = viewers.get(parentElement)
  if (!viewer) {
    viewer = new Viewer(parentElement)
    viewers.set(parentElement, viewer)
  }
  viewer.show(data, component)
  return () => {
    // A call that a newer one overtook is cleaned up, too: only what left the page is taken apart.
    setTimeout(() => {
      if (viewer.root.isConnected) return
      viewer.close()
      viewers.delete(parentElement)
    }, 500)
  }
}

function element(name, attributes = {}, text = "") {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  made.textContent = text
  return made
}

class Viewer {
  constructor(parent) {
    this.root = element("div", { class: "mlv" })
    parent.appendChild(this.root)
    this.state = { view: "all", window: "Abdomen", opacity: 0.45, full: false, hidden: new Set() }
    this.panes = []
    this.files = new Map()
    this.turn = 0
    this.fills = 0
    this.filled = Promise.resolve()
    this.bar = element("div", { class: "mlv-bar", role: "group", "aria-label": "How it is shown" })
    this.stage = element("div", { class: "mlv-stage" })
    this.told = element("div", { class: "mlv-told", role: "status" })
    this.classes = element("div", { class: "mlv-classes" })
    this.root.append(this.bar, this.stage, this.told, this.classes)
  }

  // Take what Python says now; volumes that are shown already stay.
  async show(data, component) {
    const turn = ++this.turn
    this.component = component
    this.data = data
    if (!data.windows[this.state.window]) this.state.window = Object.keys(data.windows)[0]
    if (this.state.hiddenOf !== data.colors) {
      this.state.hidden = new Set()
      this.state.hiddenOf = data.colors
    }
    this.drawBar()
    this.drawClasses()
    try {
      this.tell("Starting the viewer …")
      // The server reads while the browser compiles.
      if (!this.panes.length) {
        for (const pane of data.panes) Object.values(this.wanted(pane)).forEach((a) => a && this.file(a))
      }
      this.library ??= await this.load(data.module)
      if (turn !== this.turn) return
      await this.arrange()
      if (turn !== this.turn) return
      await this.fill()
    } catch (error) {
      this.fail(error)
    }
  }

  async load(address) {
    const probe = document.createElement("canvas").getContext("webgl2")
    if (!probe) throw new NoWebGL()
    const about = probe.getExtension("WEBGL_debug_renderer_info")
    const renderer = about ? probe.getParameter(about.UNMASKED_RENDERER_WEBGL) : ""
    probe.getExtension("WEBGL_lose_context")?.loseContext()
    // Without a graphics card, passes over a whole volume take minutes.
    this.software = /swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer)
    const library = await import(new URL(address, document.baseURI).href)
    // Windows are chosen by people here: nobody waits for a histogram.
    library.NVImage.prototype.calMinMax = function () {
      this.cal_min = this.robust_min = this.global_min = this.hdr.cal_min
      this.cal_max = this.robust_max = this.global_max = this.hdr.cal_max
      return [this.cal_min, this.cal_max, this.cal_min, this.cal_max]
    }
    this.engine = engineOf(library)
    return library
  }

  fail(error) {
    if (error instanceof NoWebGL) {
      this.tell("This browser has no WebGL 2: slices are shown instead.")
      this.component.setStateValue("webgl", "none")
      return
    }
    if (error instanceof Refused) {
      if (error.status === 403 && !this.renewed) {
        // A page that was open for long: Python signs new addresses.
        this.renewed = true
        this.component.setTriggerValue("renew", Date.now())
      }
      this.tell(error.message, true)
      return
    }
    console.error(error)
    this.tell(`The viewer could not go on (${error.message}); load the page again, or look at the slices.`, true)
  }

  tell(text, wrong = false) {
    this.told.textContent = text
    this.told.classList.toggle("mlv-wrong", wrong)
  }

  // One canvas for each pane; those that are there keep theirs.
  async arrange() {
    const wanted = this.data.panes
    while (this.panes.length > wanted.length) this.panes.pop().close()
    for (const [number, about] of wanted.entries()) {
      let pane = this.panes[number]
      if (!pane) {
        pane = new Pane(this, number)
        this.panes.push(pane)
        this.stage.append(pane.figure)
        await pane.attach()
      }
      pane.about = about
      pane.caption.textContent = about.title
    }
    this.stage.style.setProperty("--panes", wanted.length)
    for (const pane of this.panes) {
      const others = this.panes.filter((other) => other !== pane).map((other) => other.nv)
      pane.nv.broadcastTo(others, { "2d": true, "3d": true })
    }
    this.setView(this.state.view)
  }

  // Show what is wanted now: one call after the other, so that what comes late is not laid over what was chosen since.
  fill() {
    const number = ++this.fills
    const filled = this.filled.then(() => (number === this.fills ? this.fillPanes() : undefined))
    this.filled = filled.catch(() => {})
    return filled
  }

  // Fetch and show the volumes, small ones first.
  async fillPanes() {
    const began = performance.now()
    this.tell(this.state.full ? "Loading the full resolution …" : "Loading …")
    for (const pane of this.panes) await pane.fill(this.state)
    // NiiVue has copies of its own.
    this.files.clear()
    const problems = this.panes.map((pane) => pane.problem).filter(Boolean)
    for (const pane of this.panes) pane.said()
    const half = this.panes.some((pane) => pane.half)
    this.fullButton.hidden = !half
    const seconds = ((performance.now() - began) / 1000).toFixed(1)
    const what = half ? "Preview: every second voxel, gray levels of the window" : "Full resolution"
    this.renewed = false
    this.root.dataset.shown = half ? "preview" : "full"
    this.tell([`${what} · ${seconds} s`, ...new Set(problems)].join(" · "), problems.length > 0)
  }

  // Which addresses a pane needs in the present resolution and window.
  wanted(about) {
    const { full, window } = this.state
    const pick = (volume) => (volume ? (!full && volume.half) || volume.full : null)
    const image = about.image && ((!full && about.image.half?.[window]) || about.image.full)
    return { image, overlay: pick(about.overlay), mask: pick(about.mask) }
  }

  // Bytes of an address, fetched once for all panes that are being filled.
  file(address) {
    const key = content(address)
    if (!this.files.has(key)) {
      const bytes = fetch(new URL(address, document.baseURI)).then(async (answer) => {
        if (!answer.ok) throw new Refused(answer.status, await answer.text())
        return answer.arrayBuffer()
      })
      // Who waits for them is told; nobody may wait for what was fetched ahead.
      bytes.catch(() => this.files.delete(key))
      this.files.set(key, bytes)
    }
    return this.files.get(key)
  }

  drawBar() {
    const { data, state } = this
    const views = element("div", { class: "mlv-views", role: "group", "aria-label": "View" })
    this.viewButtons = new Map()
    for (const [name, title] of VIEWS) {
      const button = element("button", { type: "button", "aria-pressed": String(state.view === name) }, title)
      button.onclick = () => this.setView(name)
      this.viewButtons.set(name, button)
      views.append(button)
    }
    const windows = element("select", { "aria-label": "Window" })
    for (const [name, [low, high]] of Object.entries(data.windows)) {
      const text = `${name} (W ${high - low} L ${(high + low) / 2} HU)`
      windows.append(new Option(text, name, false, name === state.window))
    }
    windows.disabled = data.panes.every((pane) => !pane.image)
    windows.onchange = () => this.setWindow(windows.value)
    const opacity = element("input", { type: "range", min: "0", max: "100", step: "5", "aria-label": "Overlay, percent" })
    opacity.value = String(Math.round(state.opacity * 100))
    opacity.oninput = () => {
      state.opacity = Number(opacity.value) / 100
      for (const pane of this.panes) pane.setOpacity(state.opacity)
    }
    const places = element("select", { "aria-label": "Go to" })
    places.append(new Option("Go to …", "", true, true))
    for (const [group, entries] of Object.entries(data.places)) {
      if (!entries.length) continue
      const within = element("optgroup", { label: group })
      for (const { title, mm } of entries) {
        const option = new Option(title)
        option.value = mm.join(" ")
        within.append(option)
      }
      places.append(within)
    }
    places.disabled = places.length === 1
    places.onchange = () => {
      if (places.value) this.goTo(places.value.split(" ").map(Number))
      // So that the same place can be chosen again.
      places.value = ""
    }
    this.fullButton = element("button", { type: "button", class: "mlv-full" }, "Full resolution")
    this.fullButton.hidden = this.root.dataset.shown !== "preview"
    this.fullButton.onclick = () => {
      state.full = true
      this.fill().catch((error) => this.fail(error))
    }
    this.bar.replaceChildren(
      views, labelled("Window", windows), labelled("Overlay", opacity), places, this.fullButton,
    )
  }

  // A box to tick for every value that some pane colors.
  drawClasses() {
    const { state } = this
    const entries = new Map()
    for (const pane of this.data.panes) for (const entry of pane.overlay?.legend ?? []) {
      if (!entries.has(entry.title)) entries.set(entry.title, entry)
    }
    this.classes.replaceChildren()
    if (!entries.size) return
    const group = element("fieldset")
    group.append(element("legend", {}, this.data.colors === "origin" ? "Drawn by" : "Classes shown"))
    const redraw = () => {
      for (const pane of this.panes) pane.recolor()
    }
    for (const entry of [...entries.values()].sort((a, b) => a.value - b.value)) {
      const box = element("input", { type: "checkbox" })
      box.checked = !state.hidden.has(entry.title)
      box.onchange = () => {
        if (box.checked) state.hidden.delete(entry.title)
        else state.hidden.add(entry.title)
        redraw()
      }
      const swatch = element("span", { class: "mlv-swatch", style: `background:${entry.color}` })
      const label = element("label", { title: entry.detail })
      label.append(box, swatch, entry.title)
      group.append(label)
    }
    for (const [title, chosen] of [["All", true], ["None", false]]) {
      const button = element("button", { type: "button", "aria-label": `${title} shown` }, title)
      button.onclick = () => {
        state.hidden = new Set(chosen ? [] : entries.keys())
        for (const box of group.querySelectorAll("input")) box.checked = chosen
        redraw()
      }
      group.append(button)
    }
    this.classes.append(group)
  }

  setView(name) {
    this.state.view = name
    for (const [other, button] of this.viewButtons) button.setAttribute("aria-pressed", String(other === name))
    for (const pane of this.panes) pane.setView(name)
  }

  setWindow(name) {
    this.state.window = name
    this.fill().catch((error) => this.fail(error))
  }

  goTo(mm) {
    for (const pane of this.panes) pane.goTo(mm)
  }

  close() {
    while (this.panes.length) this.panes.pop().close()
    this.files.clear()
  }
}

class Pane {
  constructor(viewer, number) {
    this.viewer = viewer
    this.figure = element("figure", { class: "mlv-pane" })
    this.caption = element("figcaption")
    this.frame = element("div", { class: "mlv-frame" })
    this.canvas = element("canvas", {
      tabindex: "0", role: "img", class: "mlv-canvas", id: `mlv-${number}`,
      "aria-label": "Image and mask; arrow keys move the crosshair in the axial plane, page up and down across it",
    })
    this.readout = element("output", { class: "mlv-readout", "aria-live": "polite" })
    this.frame.append(this.canvas)
    this.figure.append(this.caption, this.frame, this.readout)
    this.canvas.addEventListener("keydown", (event) => this.key(event))
  }

  async attach() {
    const { engine: Engine, software } = this.viewer
    this.nv = new Engine(
      {
        backColor: [0, 0, 0, 1], crosshairColor: [1, 1, 1, 0.65], crosshairWidth: 1.5, crosshairWidthUnit: "mm",
        dragAndDropEnabled: false, isRadiologicalConvention: true, show3Dcrosshair: true, logLevel: "error",
        multiplanarShowRender: software ? 0 : 1, multiplanarForceRender: !software, isOrientCube: false,
        fontColor: [1, 1, 1, 1], sagittalNoseLeft: true, loadingText: "", scrollRequiresFocus: true,
      },
      software,
    )
    this.nv.onLocationChange = (place) => this.located(place)
    await this.nv.attachToCanvas(this.canvas)
    this.setOpacity(this.viewer.state.opacity)
  }

  async fill(state) {
    const { about, viewer } = this
    const { NVImage } = viewer.library
    const of = viewer.data.case
    const addresses = viewer.wanted(about)
    this.half = !state.full && Boolean(about.image?.half || about.overlay?.half)
    this.problem = about.problem
    const before = this.shown
    const keys = {}
    for (const [name, address] of Object.entries(addresses)) {
      if (!address) continue
      keys[name] = content(address)
      if (before?.[name]?.key !== keys[name]) viewer.file(address)
    }
    const [low, high] = viewer.data.windows[state.window]
    const made = async (name, from, to) => {
      if (!addresses[name]) return null
      if (before?.[name]?.key === keys[name]) return before[name]
      const volume = await NVImage.new(await viewer.file(addresses[name]), `${name}.nii`, "gray", 1, null, from, to)
      return { key: keys[name], volume }
    }
    const shown = { overlay: await made("overlay", 0, 255) }
    shown.mask = keys.mask === keys.overlay ? null : await made("mask", 0, 255)
    try {
      shown.image = await made("image", low, high)
    } catch (error) {
      // An image that is gone or exchanged leaves the mask, which is shown alone.
      if (!(error instanceof Refused) || error.status !== 404 || !shown.overlay) throw error
      this.problem = `${error.message} The mask is shown alone.`
      shown.image = null
    }
    if (!shown.image && shown.overlay) {
      // NiiVue lays a mask over something: over nothing at all, on the mask's own grid.
      if (before?.blankOf === shown.overlay.key) shown.image = before.image
      else {
        const bytes = await viewer.file(addresses.overlay)
        const blank = await NVImage.new(bytes, "blank.nii", "gray", 1, null, 0, 255)
        blank.img = new Uint8Array(blank.img.length).fill(40)
        shown.image = { key: "blank", volume: blank }
      }
      shown.blankOf = shown.overlay.key
    }
    if (!shown.image) return
    shown.of = of
    const sameImage = before?.image?.volume === shown.image.volume
    const { nv } = this
    // Another version is looked at where the last one was; another patient's body lies elsewhere.
    const mm = before?.of === of ? nv.frac2mm(nv.scene.crosshairPos, 0, true) : null
    this.shown = shown
    this.lookup = shown.mask?.volume ?? shown.overlay?.volume ?? null
    const image_ = shown.image.volume
    const repaint = !sameImage || image_.cal_min !== low || image_.cal_max !== high
    if (shown.blankOf === undefined) Object.assign(image_, { cal_min: low, cal_max: high })
    if (shown.overlay) this.color(shown.overlay.volume)
    nv.volumes = [image_, ...(shown.overlay ? [shown.overlay.volume] : [])]
    nv.back = image_
    nv.overlays = nv.volumes.slice(1)
    // A mask that stood here before would be drawn on.
    if (!shown.overlay) nv.overlayTexture = nv.rgbaTex(nv.overlayTexture, nv.gl.TEXTURE2, [2, 2, 2, 2], true)
    if (!sameImage) nv.updateGLVolume()
    else {
      if (repaint) nv.refreshLayers(image_, 0)
      if (shown.overlay && before?.overlay !== shown.overlay) nv.refreshLayers(shown.overlay.volume, 1)
    }
    const start = mm ? [mm[0], mm[1], mm[2]] : about.start
    if (start) this.goTo(start)
    else nv.drawScene()
  }

  color(volume) {
    const { hidden } = this.viewer.state
    const table = { R: [], G: [], B: [], A: [], I: [], labels: [] }
    const shown = new Map(this.about.overlay.legend.map((entry) => [entry.value, entry]))
    for (let value = -LABELS_BEFORE; value < 256; value++) {
      let entry = shown.get(value)
      if (entry && hidden.has(entry.title)) entry = undefined
      const color = entry ? Number.parseInt(entry.color.slice(1), 16) : 0
      table.R.push(color >> 16)
      table.G.push((color >> 8) & 255)
      table.B.push(color & 255)
      table.A.push(entry ? 255 : 0)
      table.I.push(value)
      table.labels.push("")
    }
    volume.setColormapLabel(table)
  }

  recolor() {
    const overlay = this.shown?.overlay?.volume
    if (!overlay) return
    this.color(overlay)
    this.nv.refreshLayers(overlay, 1)
    this.nv.drawScene()
  }

  setOpacity(opacity) {
    if (!this.nv) return
    this.nv.overlayAlphaShader = opacity
    this.nv.drawScene()
  }

  setView(name) {
    const { SLICE_TYPE } = this.viewer.library
    const types = {
      all: SLICE_TYPE.MULTIPLANAR, axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL,
      sagittal: SLICE_TYPE.SAGITTAL, render: SLICE_TYPE.RENDER,
    }
    this.nv.setSliceType(types[name])
  }

  goTo(mm) {
    const { nv } = this
    if (!nv.volumes.length) return
    const place = nv.mm2frac(mm, 0, true)
    nv.scene.crosshairPos = place.map((share) => Math.min(Math.max(share, 0), 1))
    nv.createOnLocationChange()
    nv.drawScene()
  }

  key(event) {
    const moves = {
      ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
      PageUp: [0, 0, 1], PageDown: [0, 0, -1],
    }
    const move = moves[event.key]
    if (!move || !this.nv.volumes.length) return
    event.preventDefault()
    event.stopImmediatePropagation()
    this.nv.moveCrosshairInVox(...move)
  }

  // What is at the crosshair, in words.
  located(place) {
    const { shown, about } = this
    if (!shown?.image || !place?.mm) return
    const said = []
    if (shown.blankOf === undefined) {
      const hu = Math.round(valueAt(shown.image.volume, place.mm))
      said.push(`${this.half ? "≈ " : ""}${hu} HU`)
    }
    if (this.lookup) {
      const value = valueAt(this.lookup, place.mm)
      const entry = about.mask.legend.find((one) => one.value === value)
      said.push(value === 0 ? "Background" : entry ? [entry.title, entry.detail].filter(Boolean).join(", ") : `Value ${value}`)
    }
    if (about.overlay && shown.mask) {
      const hand = about.overlay.legend.find((one) => one.value === valueAt(shown.overlay.volume, place.mm))
      if (hand) said.push(`drawn: ${hand.title}`)
    }
    said.push(about.version)
    if (about.to_voxel) {
      const [x, y, z] = place.mm
      const voxel = about.to_voxel.map((row) => Math.round(row[0] * x + row[1] * y + row[2] * z + row[3]))
      said.push(`voxel (${voxel.join(", ")})`)
    }
    this.readout.textContent = said.filter(Boolean).join(" · ")
  }

  said() {
    if (this.nv.volumes.length) this.nv.createOnLocationChange()
  }

  close() {
    this.figure.remove()
    this.nv?.cleanup()
    this.nv?.gl?.getExtension("WEBGL_lose_context")?.loseContext()
  }
}

class NoWebGL extends Error {}

class Refused extends Error {
  constructor(status, sentence) {
    super(sentence)
    this.status = status
  }
}

// What an address gives, whoever signed it and until when.
function content(address) {
  const url = new URL(address, document.baseURI)
  for (const name of ["until", "signature"]) url.searchParams.delete(name)
  return url.href
}

function labelled(text, control) {
  const label = element("label", { class: "mlv-labelled" })
  label.append(element("span", {}, text), control)
  return label
}

// The number that a volume has at a place of the patient, in its own unit; 0 outside of it.
function valueAt(volume, mm) {
  const [x, y, z] = volume.mm2vox([mm[0], mm[1], mm[2], 1])
  const [, dx, dy, dz] = volume.dimsRAS
  if (x < 0 || y < 0 || z < 0 || x >= dx || y >= dy || z >= dz) return 0
  const [stepX, stepY, stepZ] = volume.img2RASstep
  const [startX, startY, startZ] = volume.img2RASstart
  const raw = volume.img[startX + startY + startZ + x * stepX + y * stepY + z * stepZ]
  return raw * volume.hdr.scl_slope + volume.hdr.scl_inter
}

function engineOf(library) {
  return class extends library.Niivue {
    constructor(options, software) {
      super(options)
      this.software = software
      this.refreshing = null
    }

    // Colors of labels are never mixed: a voxel between two organs is no third one.
    updateInterpolation(layer, linear = false) {
      const kept = this.opts.isNearestInterpolation
      if (layer > 0) this.opts.isNearestInterpolation = true
      super.updateInterpolation(layer, linear && layer === 0)
      if (layer > 0) this.opts.isNearestInterpolation = kept
    }

    refreshLayers(volume, layer) {
      const { gl } = this
      const dims = volume.hdr.dims
      this.refreshing = volume
      if (this.software) gl.drawArrays = gl.texSubImage3D = () => {}
      try {
        super.refreshLayers(volume, layer)
      } finally {
        if (this.software) {
          delete gl.drawArrays
          delete gl.texSubImage3D
        }
        this.refreshing = null
        volume.hdr.dims = dims
      }
      if (this.software) paint(gl, layer ? this.overlayTexture : this.volumeTexture, layer, volume)
    }

    // The gradient of the image lights a rendering; ours is not lit, and it takes longer than all the rest.
    rgbaTex(texture, unit, dims, empty) {
      if (!this.refreshing || unit !== GRADIENT_SOURCE) return super.rgbaTex(texture, unit, dims, empty)
      this.refreshing.hdr.dims = [3, 1, 1, 1, 1, 1, 1, 1]
      return super.rgbaTex(texture, unit, this.refreshing.hdr.dims, empty)
    }
  }
}

// What NiiVue's shader makes of a volume, where a processor would have to run it: colors by table, slab by slab.
function paint(gl, texture, layer, volume) {
  const table = layer ? labelColors(volume) : grays(volume)
  const mask = table.length - 1
  const [, dx, dy, dz] = volume.dimsRAS
  const [stepX, stepY, stepZ] = volume.img2RASstep
  const [startX, startY, startZ] = volume.img2RASstart
  const start = startX + startY + startZ
  const { img } = volume
  const deep = Math.max(1, Math.min(dz, Math.floor(SLAB_VOXELS / (dx * dy))))
  const slab = new Uint32Array(dx * dy * deep)
  const bytes = new Uint8Array(slab.buffer)
  gl.activeTexture(layer ? gl.TEXTURE2 : gl.TEXTURE0)
  gl.bindTexture(gl.TEXTURE_3D, texture)
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1)
  const float = img instanceof Float32Array
  for (let z0 = 0; z0 < dz; z0 += deep) {
    const here = Math.min(deep, dz - z0)
    let out = 0
    for (let z = z0; z < z0 + here; z++) {
      for (let y = 0; y < dy; y++) {
        let at = start + z * stepZ + y * stepY
        if (float) for (let x = 0; x < dx; x++, at += stepX) slab[out++] = table[Math.round(img[at]) & mask]
        else for (let x = 0; x < dx; x++, at += stepX) slab[out++] = table[img[at] & mask]
      }
    }
    gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, z0, dx, dy, here, gl.RGBA, gl.UNSIGNED_BYTE, bytes.subarray(0, out * 4))
  }
}

function grays(volume) {
  const wide = !(volume.img instanceof Uint8Array)
  const table = new Uint32Array(wide ? 1 << 16 : 256)
  const { scl_slope: slope, scl_inter: inter } = volume.hdr
  const { cal_min: low, cal_max: high } = volume
  for (let bits = 0; bits < table.length; bits++) {
    const raw = wide && bits >= 1 << 15 ? bits - (1 << 16) : bits
    const share = Math.min(Math.max((raw * slope + inter - low) / (high - low), 0), 1)
    const gray = Math.round(share * 255)
    table[bits] = ((Math.round(share * 128) << 24) | (gray << 16) | (gray << 8) | gray) >>> 0
  }
  return table
}

function labelColors(volume) {
  const { lut } = volume.colormapLabel
  const table = new Uint32Array(256)
  for (let value = 0; value < 256; value++) {
    const at = 4 * (value + LABELS_BEFORE)
    const [r, g, b, a] = lut.subarray(at, at + 4)
    table[value] = ((a << 24) | (b << 16) | (g << 8) | r) >>> 0
  }
  return table
}
