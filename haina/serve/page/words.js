// Everything the page says, in English and Chinese side by side, and the language that is spoken.
// It knows no conversation: elements ask for words by data-say, data-say-label and data-say-placeholder.

const WORDS = {
  skip: ["Skip to the question", "跳到提问"],
  contents: ["Contents", "目录"],
  conversations: ["Conversations", "对话列表"],
  applications: ["Applications", "应用"],
  chat: ["Conversation", "对话"],
  thread: ["What was said", "对话内容"],
  model: ["Model", "模型"],
  settings: ["Settings", "设置"],
  done: ["Done", "完成"],
  cancel: ["Cancel", "取消"],
  theme: ["Colours", "配色"],
  theme_auto: ["Auto", "随系统"],
  theme_light: ["Light", "浅色"],
  theme_dark: ["Dark", "深色"],
  other_language: ["中文", "English"],
  new_talk: ["New conversation", "新对话"],
  untitled: ["A new page", "新的一页"],
  motto: ["All rivers run to the sea", "百川归海，有容乃大"],
  private: ["It runs on your own machine. Nothing leaves it.", "在你自己的机器上运行，内容不会离开本机。"],
  nothing_yet: ["Nothing yet.", "暂无对话。"],
  today: ["Today", "今天"],
  earlier: ["Earlier", "更早"],
  rename: ["rename", "改名"],
  rename_to: ["A new name for this conversation", "为这段对话取新名"],
  export_md: ["save as text", "存为文本"],
  export_json: ["save with branches", "含分支保存"],
  delete: ["delete", "删除"],
  delete_this: ["Delete this conversation with all its branches? It cannot be brought back.", "删除这段对话及其所有分支？删除后无法恢复。"],
  delete_yes: ["Delete", "删除"],
  export_all: ["Save all", "全部保存"],
  delete_all: ["Delete all", "全部删除"],
  delete_them: ["Delete all conversations? They cannot be brought back.", "删除全部对话？删除后无法恢复。"],
  ask: ["Your question", "你的问题"],
  ask_here: ["Write here…", "在此书写……"],
  send: ["Send", "发送"],
  stop: ["Stop", "停止"],
  generated: ["Written by a model; check what matters.", "内容由模型生成，请核实要紧之处。"],
  context: ["Context used", "已用上下文"],
  context_of: ["context {0} / {1}", "上下文 {0} / {1}"],
  question: ["Question", "问题"],
  answer: ["Answer", "回答"],
  q: ["Q", "问"],
  a: ["A", "答"],
  copy: ["copy", "复制"],
  copied: ["copied", "已复制"],
  edit: ["edit", "修改"],
  again: ["again", "重答"],
  retry: ["Ask again", "重新提问"],
  save: ["Ask this", "改问"],
  earlier_branch: ["Previous version", "上一版本"],
  later_branch: ["Next version", "下一版本"],
  branch_of: ["version {0} of {1}", "第 {0} 版，共 {1} 版"],
  code: ["Code", "代码"],
  formula: ["Formula", "公式"],
  table: ["Table", "表格"],
  waiting: ["waiting for its turn", "排队等候"],
  reading: ["reading {0} of {1} tokens", "正在阅读，{0} / {1} 词元"],
  figures: ["{0} tokens · {1} tokens/s", "{0} 词元 · {1} 词元/秒"],
  per_s: ["{0} tokens/s", "{0} 词元/秒"],
  cut: ["The answer reached its length limit.", "回答已达长度上限。"],
  stopped: ["Stopped here.", "已在此停止。"],
  unanswered: ["Not answered yet.", "尚未作答。"],
  failed: ["No answer: {0}", "没有得到回答：{0}"],
  unsaved: ["This could not be saved: {0}", "未能保存：{0}"],
  unreachable: ["the server cannot be reached; is haina serve still running?", "无法连接服务；haina serve 还在运行吗？"],
  broken: ["the answer broke off", "回答中断"],
  base: ["This is a base model without a chat format; it cannot hold a conversation.", "这是没有对话格式的基座模型，无法对话。"],
  key: ["This server asks for an API key", "此服务需要 API 密钥"],
  key_yes: ["Enter", "进入"],
  system: ["System text", "系统提示"],
  system_here: ["Who the model should be, what it should heed…", "模型应当扮演谁、注意什么……"],
  settings_note: ["Empty means as the model comes. The settings belong to this conversation.", "留空即用模型自带的值。设置只作用于这段对话。"],
  reset: ["As the model comes", "恢复模型默认"],
  temperature: ["Temperature", "温度"],
  temperature_why: ["0 always takes the likeliest; higher wanders", "0 总取最可能者；越高越发散"],
  top_p: ["Top p", "核采样 p"],
  top_p_why: ["the likeliest that together have this share", "累计概率到此为止"],
  top_k: ["Top k", "前 k 个"],
  top_k_why: ["as many of the likeliest; 0: all", "只取最可能的若干个；0 为全部"],
  min_p: ["Min p", "最低 p"],
  min_p_why: ["at least this share of the likeliest", "不低于最可能者的这一比例"],
  repetition_penalty: ["Repetition penalty", "重复惩罚"],
  repetition_penalty_why: ["above 1 avoids what was said before", "大于 1 则少重复"],
  max_tokens: ["Longest answer", "最长回答"],
  max_tokens_why: ["in tokens", "以词元计"],
  seed: ["Seed", "随机种子"],
  seed_why: ["the same seed gives the same answer", "种子相同则回答相同"],
  try_1: ["Who are you?", "你是谁？"],
  try_2: ["What can you do?", "以《春雨》为题写一首五言绝句"],
  try_3: ["白日依山尽", "白日依山尽"],
};

export const language = () => (document.documentElement.lang === "zh" ? "zh" : "en");

/** The words of a name, with {0}, {1} filled in. */
export function say(name, ...values) {
  const words = WORDS[name][language() === "zh" ? 1 : 0];
  return words.replace(/\{(\d)\}/g, (_, number) => values[number]);
}

/** A number as it is written in the language. */
export const figure = (value) => value.toLocaleString(language() === "zh" ? "zh-CN" : "en-US", { maximumFractionDigits: value < 10 ? 1 : 0 });

/** Put words wherever the elements under `root` ask for them. */
export function fill(root = document) {
  for (const element of root.querySelectorAll("[data-say]")) element.textContent = say(element.dataset.say);
  for (const element of root.querySelectorAll("[data-say-label]")) element.setAttribute("aria-label", say(element.dataset.sayLabel));
  for (const element of root.querySelectorAll("[data-say-placeholder]")) element.placeholder = say(element.dataset.sayPlaceholder);
}
