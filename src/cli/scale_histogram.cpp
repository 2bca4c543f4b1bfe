#include "scale_histogram.hpp"

#include "number.hpp"

namespace nvfp4::cli {

Json histogram_json(const ScaleHistogram& h) {
  Json codes = Json::object();
  for (std::size_t code = 0; code < h.count.size(); ++code)
    if (h.count[code]) codes[hex8(static_cast<std::uint32_t>(code))] = h.count[code];
  return {{"blocks", h.blocks},     {"zero", h.zero()}, {"subnormal", h.subnormal()},
          {"clamped", h.clamped()}, {"nan", h.nan()},   {"scale_codes", codes}};
}

std::string share_text(std::int64_t part, std::int64_t whole) {
  return thousands(part) +
         (whole ? " (" + fixed(100.0 * static_cast<double>(part) / static_cast<double>(whole), 2) + "%)"
                : "");
}

std::string histogram_text(const ScaleHistogram& h) {
  std::string text = "  " + thousands(h.blocks) + " blocks: " + share_text(h.zero(), h.blocks) +
                     " with scale 0, " + share_text(h.subnormal(), h.blocks) + " subnormal, " +
                     share_text(h.clamped(), h.blocks) + " clamped at 448 (0x7E), " +
                     share_text(h.nan(), h.blocks) + " NaN\n";
  for (int exponent = 0; exponent < 16; ++exponent) {
    const std::int64_t n = h.of(8 * exponent, 8 * exponent + 7);
    if (!n) continue;
    const auto width = static_cast<std::size_t>(40 * n / h.blocks);
    text += "  " + hex8(static_cast<std::uint32_t>(8 * exponent)) + ".." +
            hex8(static_cast<std::uint32_t>(8 * exponent + 7)) + "  " + std::string(width, '#') +
            std::string(41 - width, ' ') + thousands(n) + "\n";
  }
  return text;
}

}  // namespace nvfp4::cli
