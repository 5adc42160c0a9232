// Makes a passkey, or asks for one: the form stays hidden where the browser knows none, and every page works without it.
(() => {
  "use strict";
  if (!window.PublicKeyCredential) return;
  const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (two) => Number.parseInt(two, 16));
  const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const ask = async (form) => {
    const { passkey, kind } = form.dataset;
    const answer = await fetch(passkey, { method: "POST", body: new URLSearchParams({ token: form.elements.token.value }), redirect: "error" });
    if (!answer.ok) throw new Error("The console did not take the question: load the page again.");
    const asked = await answer.json();
    const challenge = bytes(asked.challenge);
    const known = asked.ids.map((id) => ({ type: "public-key", id: bytes(id) }));
    const common = { challenge, timeout: 120_000 };
    if (kind === "make") {
      return navigator.credentials.create({ publicKey: {
        ...common,
        rp: { id: asked.host, name: "Convizit" },
        user: { id: bytes(asked.user), name: asked.email, displayName: asked.name },
        pubKeyCredParams: [-7, -8, -257].map((alg) => ({ type: "public-key", alg })),
        authenticatorSelection: { residentKey: "preferred", userVerification: "required" },
        excludeCredentials: known,
        attestation: "none",
      } });
    }
    return navigator.credentials.get({ publicKey: { ...common, rpId: asked.host, allowCredentials: known, userVerification: "required" } });
  };
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.hidden = false;
    const said = form.querySelector("[data-said]");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      said.hidden = true;
      try {
        const { rawId, response } = await ask(form);
        const fields = { id: rawId, client: response.clientDataJSON, data: response.attestationObject ?? response.authenticatorData, signature: response.signature };
        for (const [name, value] of Object.entries(fields)) form.elements[name].value = value ? hex(value) : "";
        // Goes on without this listener.
        form.submit();
      } catch (error) {
        said.textContent = error.name === "NotAllowedError" ? "Nothing was done: the device was not unlocked in time, or it has no passkey for this account." : error.message;
        said.hidden = false;
      }
    });
  }
})();
