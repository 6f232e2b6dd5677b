// What a test says of an action that shall fail.
#pragma once

#include <string>

#include "base/error.h"

namespace steelyard::test {

/// The message of the Error that `action` throws; empty where it throws none.
template <typename Action>
std::string error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace steelyard::test
