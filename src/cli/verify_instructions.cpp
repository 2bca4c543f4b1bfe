#include "verify.hpp"

#ifdef NVFP4_WITH_GPU
#include <nvfp4/gpu.hpp>
#endif

namespace nvfp4::cli {

#ifdef NVFP4_WITH_GPU
namespace {

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

void file(const InstructionCheck& check, Verification& v) {
  VerifyRow row{.what = check.instruction, .layer = "gpu"};
  row.cases = check.cases, row.equal = check.equal, row.differing_bytes = check.differing_bytes;
  if (!check.exists) {
    row.not_run = 1;
    v.notes.push_back("not run: " + check.instruction + ": this GPU lacks it");
  } else if (check.has_hypotheses) {
    v.notes.push_back(check.instruction + ": hypotheses that fit every result: " + listed(check.survivors));
  }
  if (row.differing_bytes && v.text.empty()) {
    v.text = check.instruction + " on gpu, against " + check.model + ": " + check.first;
    v.first = {{"what", check.instruction}, {"layer", "gpu"}, {"text", v.text}};
  }
  v.rows.push_back(row);
}

}  // namespace

void verify_instructions(Verification& v) {
  v.gpu = gpu_description();
  for (const InstructionCheck& check : check_instructions(v.seed)) file(check, v);
}
#else
void verify_instructions(Verification&) {}
#endif

}  // namespace nvfp4::cli
