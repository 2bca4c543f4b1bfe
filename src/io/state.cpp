#include <nvfp4/io/state.hpp>

#include <limits>

#include "fields.hpp"
#include "json.hpp"

namespace nvfp4::io {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();

std::vector<std::int64_t> read_integers(const Fields& fields, const std::string& key) {
  const nlohmann::json& array = fields.at(key);
  if (!array.is_array()) fields.refuse(key, "an array of integers", array.type_name());
  std::vector<std::int64_t> values;
  for (const auto& value : array) values.push_back(fields.integer(value, key, 0, most));
  return values;
}

SchemeState read_scheme(const Fields& fields) {
  SchemeState state;
  for (const auto& item : fields.all().items()) state[item.key()] = read_integers(fields, item.key());
  return state;
}

}  // namespace

/// A line a product: an indented array would take a line a channel.
std::string to_json(const LayerState& state) {
  std::string text;
  for (const Gemm g : all_gemms)
    text += (text.empty() ? "{\n  \"" : ",\n  \"") + std::string(name(g)) + "\": " + Json(state[g]).dump();
  return text + "\n}\n";
}

LayerState parse_state(std::string_view json, const std::string& file) {
  const std::string place = "state";
  const nlohmann::json document = parse_json(json, file, place);
  const Fields fields(document, "", file, place);
  LayerState state;
  for (const auto& item : fields.all().items()) {
    const auto g = std::ranges::find(all_gemms, item.key(), [](Gemm gemm) { return name(gemm); });
    if (g == all_gemms.end()) fields.refuse(item.key(), "fprop, dgrad or wgrad", "another name");
    state[*g] = read_scheme(fields.object(item.key()));
  }
  return state;
}

}  // namespace nvfp4::io
