// What the sanitizers shall not report. System libraries are not instrumented, so some of what they do right looks
// wrong. One line for each known case, with its reason; nothing of our own belongs here.

extern "C" {

const char* __tsan_default_suppressions();
const char* __tsan_default_suppressions() { return ""; }

const char* __lsan_default_suppressions();
const char* __lsan_default_suppressions() { return ""; }

}  // extern "C"
