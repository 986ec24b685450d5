// The volume in NiiVue, if the browser has WebGL 2: unpacked and started when it is asked for.
(() => {
  const $ = (id) => document.getElementById(id);
  const canvas = $("volume-canvas"), box = $("volume-box"), open = $("volume-open"), pick = $("volume-image");
  if (!document.createElement("canvas").getContext("webgl2")) {
    open.hidden = true;
    $("volume-text").textContent = "This browser offers no WebGL 2, which the volume viewer needs: the slices above show the same volume.";
    return;
  }

  // NIfTI-1 of one frame: 16-bit magnitudes in units of the file, with the place in the patient.
  function nifti({ data, state }, image) {
    const { rows, columns, count } = data, frames = data.frames.length;
    const pixels = rows * columns, out = new ArrayBuffer(352 + 2 * pixels * count), head = new DataView(out);
    head.setInt32(0, 348, true);
    [3, columns, rows, count, 1, 1, 1, 1].forEach((n, i) => head.setInt16(40 + 2 * i, n, true));
    head.setInt16(70, 512, true);
    head.setInt16(72, 16, true);
    const lengths = [0, 1, 2].map((c) => Math.hypot(...[0, 1, 2].map((r) => data.affine[r][c])));
    [1, ...lengths, 1, 1, 1, 1].forEach((n, i) => head.setFloat32(76 + 4 * i, n, true));
    head.setFloat32(108, 352, true);
    head.setFloat32(112, data.peak / 4095, true);
    head.setFloat32(124, data.peak * data.window, true);
    head.setInt16(254, 1, true);
    data.affine.slice(0, 3).flat().forEach((n, i) => head.setFloat32(280 + 4 * i, n, true));
    [0x6e, 0x2b, 0x31, 0].forEach((n, i) => head.setUint8(344 + i, n));
    const voxels = new Uint16Array(out, 352);
    for (let z = 0; z < count; z++) {
      const from = (z * frames + state.frame) * pixels;
      voxels.set(image.values.subarray(from, from + pixels), z * pixels);
    }
    return out;
  }

  async function library() {
    const zipped = Uint8Array.from(atob($("niivue").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    return window.niivue;
  }

  open.onclick = async () => {
    open.disabled = true;
    try {
      const report = await window.report, { images } = report;
      const { Niivue } = await library();
      open.hidden = true;
      box.hidden = $("volume-pick").hidden = false;
      const viewer = new Niivue({
        backColor: [0, 0, 0, 1], fontColor: [0.9, 0.9, 0.9, 1], crosshairColor: [0.3, 0.75, 0.95, 0.7], loadingText: "",
        isOrientationTextVisible: report.data.oriented, crosshairWidth: 0.2, crosshairWidthUnit: "percent", multiplanarLayout: 2, multiplanarShowRender: 1, show3Dcrosshair: true,
      });
      await viewer.attachToCanvas(canvas);
      images.forEach((image, n) => pick.add(new Option(image.label, n)));
      let frame = 0, waiting = 0, loaded = Promise.resolve();
      const load = async () => {
        frame = report.state.frame;
        if (viewer.volumes.length) viewer.removeVolumeByIndex(0);
        await viewer.loadFromArrayBuffer(nifti(report, images[pick.value]), `${images[pick.value].name}.nii`);
        canvas.dataset.shown = images[pick.value].name;
      };
      const show = () => (loaded = loaded.then(load));
      pick.onchange = show;
      $("panels").addEventListener("drawn", () => {
        clearTimeout(waiting);
        if (report.state.frame !== frame) waiting = setTimeout(show, 200); // when it rests
      });
      pick.value = Math.max(0, images.findIndex((image) => image.name === "model"));
      viewer.setSliceType(viewer.sliceTypeMultiplanar);
      await show();
    } catch (error) {
      open.hidden = box.hidden = $("volume-pick").hidden = true;
      $("volume-text").textContent = `The volume viewer could not be started (${error.message}): the slices above show the same volume.`;
    }
  };
})();
