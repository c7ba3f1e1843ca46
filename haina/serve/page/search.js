import * as head from "./head.js";

head.begin(() => {});
