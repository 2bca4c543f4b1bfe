#include "markup.hpp"
#include "number.hpp"
#include "verify.hpp"

#include <nvfp4/version.hpp>

namespace nvfp4::cli {
namespace {

/// A bar whose green part is the share of equal cases.
std::string bar(const VerifyRow& row) {
  const double share = row.cases ? static_cast<double>(row.equal) / static_cast<double>(row.cases) : 0;
  const std::string red = row.cases ? "#b00020" : "#ddd";
  return "<svg width=\"120\" height=\"10\" role=\"img\" aria-label=\"" + fixed(100 * share, 1) +
         "% equal\"><rect width=\"120\" height=\"10\" fill=\"" + red + "\"/><rect width=\"" +
         fixed(120 * share, 1) + "\" height=\"10\" fill=\"#1b6e3a\"/></svg>";
}

std::string table_row(const VerifyRow& row) {
  const std::string head = "<tr><td>" + escaped(row.what) + "</td><td>" + escaped(row.layer) + "</td>";
  if (row.not_run)
    return head + "<td class=\"off\" colspan=\"4\">not run: " + thousands(row.not_run) + " cases</td></tr>\n";
  return head + "<td>" + thousands(row.cases) + "</td><td>" + thousands(row.equal) + "</td><td class=\"" +
         (row.differing_bytes ? "bad" : "good") + "\">" + thousands(row.differing_bytes) + "</td><td>" +
         bar(row) + "</td></tr>\n";
}

}  // namespace

std::string html_report(const Verification& v) {
  const VerifyRow total = v.total();
  std::string page = "<h1>nvfp4 verify: " +
                     std::string(total.differing_bytes ? "<span class=\"bad\">differs</span>"
                                                       : "<span class=\"good\">equal</span>") +
                     "</h1>\n";
  page += "<p>nvfp4 " NVFP4_VERSION ", level " + std::string(v.full ? "full" : "quick") +
          ". Golden values are made with the reference layer; every other "
          "layer is held against them byte by byte. " +
          thousands(total.cases) + " cases, " + thousands(total.equal) + " equal, " +
          thousands(total.differing_bytes) + " differing bytes, " + thousands(total.not_run) +
          " not run.</p>\n";
  if (!v.gpu.empty()) page += "<p>GPU: " + escaped(v.gpu) + "</p>\n";
  if (!v.text.empty()) page += "<p class=\"bad\">First difference: " + escaped(v.text) + "</p>\n";
  page +=
      "<table><tr><th>dialect or format</th><th>layer</th><th>cases</th><th>equal</th><th>differing "
      "bytes</th><th></th></tr>\n";
  for (const VerifyRow& row : v.rows) page += table_row(row);
  page += "</table>\n";
  for (const std::string& note : v.notes) page += "<p>" + escaped(note) + "</p>\n";
  page += "<p>To make this page again:</p><pre>nvfp4 verify --level " +
          std::string(v.full ? "full" : "quick") + (v.gpu.empty() ? "" : " --device gpu") +
          " --report report.html</pre>\n";
  return html_page("nvfp4 verify", page);
}

}  // namespace nvfp4::cli
