// What a program of somebody else does with the installed libraries: reads a model, and applies a plan to it.
#include <cstdio>
#include <exception>

#include "gguf/reader.h"
#include "plan/plan.h"

int main(int argc, char** argv) {
  using namespace steelyard;
  if (argc != 2) return 2;
  try {
    const gguf::Reader reader(argv[1]);
    const plan::Plan plan = plan::Plan::parse("attn_ = Q4_K\n* = Q8_0\n", "example");
    std::printf("%zu tensors, %zu rules\n", reader.tensors().size(), plan.rules().size());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
