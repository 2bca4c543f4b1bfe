#include "junit.hpp"

#include <algorithm>

#include "markup.hpp"

namespace nvfp4::cli {
namespace {

std::string body_of(const Verdict& v) {
  if (v.refused) return "<skipped message=\"refused by the producer\"/>";
  if (v.equal()) return "";
  return "<failure message=\"" +
         escaped(std::to_string(v.differing_bytes) + " bytes differ; first: " + v.text) + "\"/>";
}

}  // namespace

std::string junit_xml(const std::string& suite, const std::vector<Verdict>& verdicts) {
  const auto refused =
      std::count_if(verdicts.begin(), verdicts.end(), [](const Verdict& v) { return v.refused; });
  const auto equal =
      std::count_if(verdicts.begin(), verdicts.end(), [](const Verdict& v) { return v.equal(); });
  const auto total = static_cast<std::ptrdiff_t>(verdicts.size());
  std::string xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"" + escaped(suite) +
                    "\" tests=\"" + std::to_string(total) + "\" failures=\"" +
                    std::to_string(total - refused - equal) + "\" errors=\"0\" skipped=\"" +
                    std::to_string(refused) + "\">\n";
  for (const Verdict& v : verdicts)
    xml += "  <testcase classname=\"" + escaped(suite) + "\" name=\"" + escaped(v.name) + "\">" + body_of(v) +
           "</testcase>\n";
  return xml + "</testsuite>\n";
}

}  // namespace nvfp4::cli
