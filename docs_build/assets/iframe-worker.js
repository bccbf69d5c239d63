// A page that was opened from the disk may start no worker: the search's script runs in a frame then.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      this.frame.srcdoc = '<!doctype html><html lang="en"><title>search</title><body></body></html>';
      this.frame.onload = () => this.begin(url);
      document.documentElement.append(this.frame);
    }

    begin(url) {
      const script = this.frame.contentDocument.createElement("script");
      this.frame.contentWindow.postMessage = (data) => this.answer(data); // by which a worker speaks
      script.onload = () => {
        this.ready = true;
        this.waiting.splice(0).forEach((data) => this.postMessage(data));
      };
      script.src = url;
      this.frame.contentDocument.body.append(script);
    }

    answer(data) {
      const event = new MessageEvent("message", { data });
      this.dispatchEvent(event);
      if (this.onmessage) this.onmessage(event);
    }

    postMessage(data) {
      if (this.ready) this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
      else this.waiting.push(data);
    }

    terminate() {
      this.frame.remove();
    }
  };
}
