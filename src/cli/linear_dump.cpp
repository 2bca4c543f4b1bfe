#include "linear_dump.hpp"

#include <unistd.h>

#include <filesystem>

#include <nvfp4/io.hpp>
#include <nvfp4/kernels.hpp>

namespace nvfp4::cli {
namespace {

namespace fs = std::filesystem;

class Dump {
 public:
  Dump(const DumpFolder& folder, const DumpHead& head, const Kernels& kernels)
      : folder_(folder), head_(head), kernels_(kernels) {}

  Json pass(const std::string& name, const Pass& pass, Dtype out) const {
    Json terms = Json::array();
    for (std::size_t i = 0; i < pass.terms.size(); ++i)
      terms.push_back(term(name + "_" + std::to_string(i), pass.terms[i]));
    return {{"terms", terms}, {"out", matrix(name, pass.out.view())}, {"out_dtype", nvfp4::name(out)}};
  }

 private:
  Json term(const std::string& name, const Term& t) const {
    Json json{{"kind", t.a.quantized ? "scaled" : "dense"},
              {"a", operand(name + "_a", t.a)},
              {"b", operand(name + "_b", t.b)},
              {"alpha", t.scaling.includes_globals ? t.scaling.alpha : 1},
              {"alpha_includes_globals", t.scaling.includes_globals},
              {"transform", t.transform.empty() ? Json(nullptr) : Json(t.transform)},
              {"out", matrix(name, t.out.view())}};
    if (t.transform.empty()) return json;
    json["a_transformed"] = matrix(name + "_a_transformed", t.a.transformed.view());
    json["b_transformed"] = matrix(name + "_b_transformed", t.b.transformed.view());
    return json;
  }

  std::string operand(const std::string& name, const Operand& o) const {
    if (!o.quantized) return matrix(name, o.dense.view());
    io::QuantizedFile file{*o.quantized, std::nullopt, ScaleLayout::linear, {}, {}};
    if (o.quantized->spec.stochastic) file.provenance.seed = head_.seed;
    io::write_quantized(folder_.path(name + ".npz"), file, io::Overwrite::no);
    return name + ".npz";
  }

  std::string matrix(const std::string& name, MatrixView x) const {
    const Matrix values = converted(x, Dtype::fp32, kernels_);
    io::write_matrix(folder_.path(name + ".npy"), values.view(), io::Overwrite::no);
    return name + ".npy";
  }

  const DumpFolder& folder_;
  const DumpHead& head_;
  const Kernels& kernels_;
};

}  // namespace

DumpFolder::DumpFolder(const std::string& target, io::Overwrite overwrite)
    : target_(target), temporary_(target) {
  const bool is_dump = fs::exists(target_ / "manifest.json");
  if (fs::exists(target_) && !(overwrite == io::Overwrite::yes && is_dump))
    throw UsageError(target + ": exists: expected a new folder" +
                     (is_dump ? ", or --force to replace the dump" : ""));
  temporary_ += "." + std::to_string(::getpid()) + ".tmp";
  std::error_code error;
  if (!fs::create_directory(temporary_, error))
    throw UsageError(target + ": expected a place where a folder can be made");
}

DumpFolder::~DumpFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void DumpFolder::commit() {
  fs::remove_all(target_);
  fs::rename(temporary_, target_);
  temporary_.clear();
}

void write_dump(const DumpFolder& folder, const LinearResult& result, const Recipe& recipe,
                const DumpHead& head, const Kernels& kernels) {
  const Dump dump(folder, head, kernels);
  const Json manifest{{"recipe", head.recipe},
                      {"provenance", head.provenance},
                      {"out_dtype", "float32"},
                      {"passes",
                       {{"fprop", dump.pass("fprop", result.fprop, recipe.fprop.out)},
                        {"dgrad", dump.pass("dgrad", result.dgrad, recipe.dgrad.out)},
                        {"wgrad", dump.pass("wgrad", result.wgrad, recipe.wgrad.out)}}}};
  io::write_text(folder.path("manifest.json"), manifest.dump(2) + "\n", io::Overwrite::no);
}

}  // namespace nvfp4::cli
