#include <memory>

#include <CLI/App.hpp>
#include <nvfp4/producers.hpp>

#include "dialect_table.hpp"
#include "number.hpp"
#include "profile.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

Json describe(const Dialect& d) {
  Json json{{"name", d.name},
            {"version", d.version},
            {"source", d.source},
            {"evidence", d.evidence},
            {"global_is", name(d.global_is)}};
  if (d.global_divisor) json["global_divisor"] = d.global_divisor;
  return json;
}

std::string field(std::string_view key, std::string_view value) {
  return "  " + std::string(key) + std::string(10 - key.size(), ' ') + std::string(value) + '\n';
}

std::string text_of(const Dialect& d) {
  std::string global(name(d.global_is));
  if (d.global_divisor) global += ", divisor " + std::to_string(d.global_divisor);
  return std::string(d.name) + '\n' + field("version", d.version) + field("source", d.source) +
         field("evidence", d.evidence) + field("global", global);
}

Json describe(const Producer& p) {
  Json json = describe_profile(p);
  json["columns"] = p.columns;
  return json;
}

std::string text_of(const Producer& p) {
  const Json json = describe(p);
  return "  " + std::string(p.name) + ": " + std::string(p.spec.dialect->name) + ' ' +
         block_name(p.spec.block) + ", tensor scale per " + json["tensor_scale"].get<std::string>() +
         (p.columns ? ", columns too" : "") + '\n';
}

struct Options {
  std::string input, array, tensor, input_dtype;
  std::int64_t witness_tries = -1;
};

Outcome list() {
  Outcome outcome;
  outcome.json = {{"dialects", Json::array()}, {"producers", Json::array()}};
  for (const Dialect* d : all_dialects()) {
    outcome.json["dialects"].push_back(describe(*d));
    outcome.text += text_of(*d);
  }
  outcome.text += "producers\n";
  for (const Producer& p : producers()) {
    outcome.json["producers"].push_back(describe(p));
    outcome.text += text_of(p);
  }
  return outcome;
}

}  // namespace

Run declare_dialects(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::Option* input = app.add_option("--input", o->input, "a matrix: what each makes of it, pair by pair");
  app.add_option("--array", o->array, "which array of an .npz")->needs(input);
  app.add_option("--tensor", o->tensor, "which tensor of a .safetensors")->needs(input);
  app.add_option("--input-dtype", o->input_dtype,
                 "bf16: uint16 elements are BF16 bits; or what witnesses are looked for as");
  app.add_option("--witnesses", o->witness_tries,
                 "for each pair a case on which they part, looked for in the case packs and N more matrices")
      ->type_name("N")
      ->check(CLI::Range(0, 1000000))
      ->excludes(input);
  return [o] {
    if (o->witness_tries >= 0)
      return witness_table(dtype_named(o->input_dtype).value_or(Dtype::fp32), o->witness_tries);
    if (o->input.empty() && !o->input_dtype.empty())
      throw UsageError("--input-dtype needs --input or --witnesses");
    if (o->input.empty()) return list();
    return dialect_table(io::open_matrix(o->input, {o->array, o->tensor, dtype_named(o->input_dtype)}).view);
  };
}

}  // namespace nvfp4::cli
