// A conversation as a tree of messages, and the branch that is looked at: from the first message to the leaf.
// It knows neither the server nor the screen.

export class Tree {
  constructor(messages = [], leaf = null) {
    this.byNumber = new Map(messages.map((message) => [message.number, message]));
    this.leaf = leaf;
  }

  add(message) {
    this.byNumber.set(message.number, message);
    this.leaf = message.number;
  }

  /** From the first message to `leaf`. */
  branch(leaf = this.leaf) {
    const line = [];
    for (let at = this.byNumber.get(leaf); at; at = this.byNumber.get(at.parent)) line.unshift(at);
    return line;
  }

  /** The versions of a message: all that follow the same one, in the order they were said. */
  versions(message) {
    return this.after(message.parent);
  }

  after(number) {
    return [...this.byNumber.values()].filter((other) => other.parent === number);
  }

  /** Where the newest line through a message ends. */
  end(message) {
    for (;;) {
      const next = this.after(message.number).at(-1);
      if (!next) return message.number;
      message = next;
    }
  }
}
