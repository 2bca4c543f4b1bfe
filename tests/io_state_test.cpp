#include <doctest/doctest.h>

#include <nvfp4/io.hpp>

#include "tests/scratch.hpp"

using namespace nvfp4;

/// What schemes keep, as JSON.
namespace {

std::string refusal(const std::string& text) {
  return scratch::refusal([&] { io::parse_state(text, "s.json"); });
}

}  // namespace

TEST_CASE("io state: what is written is read back") {
  const LayerState state{.fprop = {{"order", {2, 0, 1}}, {"residuals", {16}}},
                         .wgrad = {{"hot_channels", {}}}};
  CHECK(io::to_json(state) ==
        "{\n  \"fprop\": {\"order\":[2,0,1],\"residuals\":[16]},\n  \"dgrad\": {},\n"
        "  \"wgrad\": {\"hot_channels\":[]}\n}\n");
  CHECK(io::parse_state(io::to_json(state), "s.json") == state);
  CHECK(io::parse_state(io::to_json(LayerState{}), "s.json") == LayerState{});
  CHECK(io::parse_state("{}", "s.json") == LayerState{});
  LayerState long_one{.dgrad = {{"order", {}}}};
  for (std::int64_t i = 0; i < 100000; ++i) long_one.dgrad["order"].push_back(i);
  CHECK(io::parse_state(io::to_json(long_one), "s.json") == long_one);
}

TEST_CASE("io state: faults are named with the file and the field") {
  CHECK(refusal("[]") == "s.json: state: expected an object, found array");
  CHECK(refusal(R"({"fpop": {}})") ==
        "s.json: state field 'fpop': expected fprop, dgrad or wgrad, found another name");
  CHECK(refusal(R"({"fprop": [1]})") == "s.json: state field 'fprop': expected an object, found array");
  CHECK(refusal(R"({"fprop": {"order": 3}})") ==
        "s.json: state field 'fprop.order': expected an array of integers, found number");
  const std::string integer = "expected an integer from 0 to 9223372036854775807, found ";
  CHECK(refusal(R"({"wgrad": {"order": [1, -1]}})") ==
        "s.json: state field 'wgrad.order': " + integer + "-1");
  CHECK(refusal(R"({"wgrad": {"order": [1.5]}})") ==
        "s.json: state field 'wgrad.order': " + integer + "number");
  CHECK(refusal(R"({"wgrad": {"order": [9223372036854775808]}})") ==
        "s.json: state field 'wgrad.order': " + integer + "9223372036854775808");
  CHECK(refusal(R"({"wgrad": {"order": ["1"]}})") ==
        "s.json: state field 'wgrad.order': " + integer + "string");
  CHECK(refusal(R"({"fprop": {"order": [], "order": []}})").starts_with("s.json: "));
  CHECK(refusal("{").starts_with("s.json: "));
}
