#include "document.hpp"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

constexpr int max_depth = 100;

struct TooDeep {};

bool see(int depth, Json::parse_event_t, Json&) {
  if (depth > max_depth) throw TooDeep();
  return true;
}

}  // namespace

Json parsed_document(const std::string& text) try {
  Json json = Json::parse(text, see, false);
  return json.is_discarded() ? Json() : json;
} catch (const TooDeep&) {
  return {};
}

}  // namespace nvfp4
