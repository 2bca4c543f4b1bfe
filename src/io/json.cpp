#include "json.hpp"

#include <set>
#include <vector>

#include <nvfp4/io/error.hpp>

#include "text.hpp"

namespace nvfp4::io {
namespace {

using Event = nlohmann::json::parse_event_t;

constexpr std::size_t max_size = 1 << 20;
constexpr int max_depth = 32;

/// Watches the parser: nlohmann itself keeps the last of two equal keys and nests without end.
class Watch {
 public:
  Watch(const std::string& file, const std::string& place) : file_(file), place_(place) {}

  void see(int depth, Event event, const nlohmann::json& parsed) {
    if (depth > max_depth) throw FileError(file_, place_, "at most 32 levels of JSON", "more");
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event != Event::key) return;
    const auto& key = parsed.get_ref<const std::string&>();
    if (!keys_.back().insert(key).second) throw FileError(file_, place_, "one key " + in_quotes(key), "two");
  }

 private:
  const std::string& file_;
  const std::string& place_;
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

std::string reason(const nlohmann::json::exception& e) {
  const std::string_view text = e.what();
  const std::size_t end = text.find("] ");
  return std::string(end == std::string_view::npos ? text : text.substr(end + 2));
}

nlohmann::json parse_json(std::string_view text, const std::string& file, const std::string& place) {
  if (text.size() > max_size)
    throw FileError(file, place, "at most 1 MiB of JSON", std::to_string(text.size()) + " bytes");
  Watch watch(file, place);
  try {
    return nlohmann::json::parse(text, [&](int depth, Event event, const nlohmann::json& parsed) {
      watch.see(depth, event, parsed);
      return true;
    });
  } catch (const nlohmann::json::exception& e) {
    throw FileError(file, place, "JSON", reason(e));
  }
}

}  // namespace nvfp4::io
