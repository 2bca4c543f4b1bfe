#include "profile.hpp"

#include <functional>

#include <CLI/CLI.hpp>

#include "golden_file.hpp"

namespace nvfp4::cli {
namespace {

constexpr const char* profile_options[] = {"--dialect", "--producer",    "--block",
                                           "--columns", "--tensor-amax", "--tensor-scale"};

template <class List, class NameOf>
std::string join(const List& list, NameOf name_of) {
  std::string joined;
  for (const auto& entry : list)
    joined += (joined.empty() ? "" : ", ") + std::string(std::invoke(name_of, entry));
  return joined;
}

BlockShape block_named(const std::string& name) {
  for (const BlockShape shape : {BlockShape{1, 16}, BlockShape{16, 16}})
    if (block_name(shape) == name) return shape;
  throw UsageError("--block " + name + ": expected 1x16 or 16x16");
}

TensorScale tensor_scale_named(const std::string& name) {
  if (name == "tensor") return TensorScale::tensor;
  if (name == "row") return TensorScale::row;
  throw UsageError("--tensor-scale " + name + ": expected tensor or row");
}

void refuse_what_is_not_built(const ProfileOptions& o) {
  if (o.rounding != "rne") throw UsageError("--rounding " + o.rounding + ": expected rne; no other is built");
  if (o.rht != 0) throw UsageError("--rht " + std::to_string(o.rht) + ": expected 0; no transform is built");
}

void validate_options(const QuantizeSpec& spec) try {
  validate(spec);
} catch (const std::invalid_argument& error) {
  throw UsageError(error.what());
}

}  // namespace

void declare_profile(CLI::App& app, ProfileOptions& o) {
  CLI::Option* producer = app.add_option(
      "--producer", o.producer, "a producer's dialect and options: " + join(producers(), &Producer::name));
  const auto own = [&](CLI::Option* option) { option->excludes(producer)->capture_default_str(); };
  own(app.add_option(
      "--dialect", o.dialect,
      "order of operations: " + join(all_dialects(), [](const Dialect* d) { return d->name; })));
  own(app.add_option("--block", o.block, "1x16|16x16: rows and columns that share a block scale"));
  own(app.add_option("--tensor-scale", o.tensor_scale, "tensor|row: what shares a second-level scale"));
  own(app.add_option("--tensor-amax", o.amax, "replaces the input's own tensor amax"));
  own(app.add_flag("--columns", o.columns, "quantize the transpose too"));
  app.add_option("--rounding", o.rounding, "rne")->capture_default_str();
  app.add_option("--rht", o.rht, "0: no transform")->capture_default_str();
}

bool profile_given(const CLI::App& app) {
  for (const char* option : profile_options)
    if (app.count(option) > 0) return true;
  return false;
}

const Producer& producer_named(const std::string& name) {
  if (const Producer* producer = find_producer(name)) return *producer;
  throw UsageError("unknown producer '" + name + "': expected one of " + join(producers(), &Producer::name));
}

const Dialect& dialect_named(const std::string& name) {
  if (const Dialect* dialect = find_dialect(name)) return *dialect;
  throw UsageError("unknown dialect '" + name + "': expected one of " +
                   join(all_dialects(), [](const Dialect* d) { return d->name; }));
}

Producer profile(const ProfileOptions& o) {
  refuse_what_is_not_built(o);
  if (!o.producer.empty()) return producer_named(o.producer);
  const QuantizeSpec spec{&dialect_named(o.dialect), block_named(o.block), tensor_scale_named(o.tensor_scale),
                          o.amax};
  validate_options(spec);
  return {.name = "", .spec = spec, .columns = o.columns, .multiple_of = 1};
}

ProducerResult quantize_by(const Producer& producer, MatrixView x, const Kernels& kernels) {
  if (!producer.name.empty()) return quantize(producer, x, kernels);
  ProducerResult result{kernels.quantize(x, producer.spec, {}), std::nullopt};
  if (producer.columns) result.columns = kernels.quantize(transpose(x).view(), producer.spec, {});
  return result;
}

std::int64_t experts_of(const io::Array& array) {
  if (array.info.shape.size() != 3)
    array.refuse("shape (experts, rows, columns) for --experts", shape_text(array.info.shape));
  return array.info.shape[0];
}

std::string block_name(BlockShape shape) {
  return std::to_string(shape.rows) + "x" + std::to_string(shape.cols);
}

Json describe_profile(const Producer& producer) {
  Json json;
  if (!producer.name.empty()) json["producer"] = producer.name;
  json["dialect"] = producer.spec.dialect->name;
  json["block"] = block_name(producer.spec.block);
  json["tensor_scale"] = producer.spec.tensor_scale == TensorScale::row ? "row" : "tensor";
  if (producer.spec.amax) json["tensor_amax"] = *producer.spec.amax;
  return json;
}

}  // namespace nvfp4::cli
