// Search where the site is read without a server: a browser starts no worker for a file, so its script runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      const start = () => {
        const frame = document.body.appendChild(document.createElement("iframe"))
        frame.hidden = true
        this.inside = frame.contentWindow
        this.inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
        this.inside.importScripts = () => {} // other languages' words, which the index does not need
        const script = frame.contentDocument.createElement("script")
        script.src = url
        script.onload = () => {
          this.ready = true
          this.waiting.splice(0).forEach((data) => this.postMessage(data))
        }
        frame.contentDocument.body.append(script)
      }
      document.body ? start() : addEventListener("DOMContentLoaded", start)
    }
    postMessage(data) {
      if (this.ready) this.inside.dispatchEvent(new this.inside.MessageEvent("message", { data }))
      else this.waiting.push(data)
    }
    terminate() {}
  }
}
