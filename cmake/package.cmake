# `make package`: Debian packages by CPack, steelyard (the program) and steelyard-dev (libraries and headers), in the build
# folder's packages/. What the binary links decides what steelyard depends on; cmake/check_package.sh installs both in a
# fresh Debian.
set(STEELYARD_MAINTAINER "The Steelyard authors <maintainers@steelyard.example>" CACHE STRING "maintainer of the packages")

# steelyard_debian_documents(<package> <component>): what Debian wants in the documentation of every package.
function(steelyard_debian_documents package component)
  set(folder ${PROJECT_BINARY_DIR}/debian/${package})
  string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
  configure_file(cmake/debian/changelog.in ${folder}/changelog @ONLY)
  configure_file(cmake/debian/copyright.in ${folder}/copyright @ONLY)
  execute_process(COMMAND ${STEELYARD_GZIP} -9 -n -f ${folder}/changelog COMMAND_ERROR_IS_FATAL ANY)
  # Only for packages: elsewhere the licence stands in the source tree.
  install(FILES ${folder}/changelog.gz ${folder}/copyright DESTINATION share/doc/${package} COMPONENT ${component}
    EXCLUDE_FROM_ALL)
endfunction()

file(READ LICENSE license)
string(REGEX REPLACE "^.*Permission is hereby" "Permission is hereby" license "${license}")
string(REGEX REPLACE "\n+$" "" license "${license}")
string(REPLACE "\n\n" "\n.\n" license "${license}")
string(REPLACE "\n" "\n " license " ${license}")
steelyard_debian_documents(steelyard program)
steelyard_debian_documents(steelyard-dev development)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_NAME steelyard)
set(CPACK_PACKAGE_CONTACT "${STEELYARD_MAINTAINER}")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL program development)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)

set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME steelyard)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_SHLIBDEPS ON)
# Chat templates; everything else works without.
set(CPACK_DEBIAN_PROGRAM_PACKAGE_RECOMMENDS python3-jinja2)
set(CPACK_DEBIAN_PROGRAM_DESCRIPTION "quantizes GGUF language models, unequally
Steelyard finds out which tensors of a language model matter, gives those bits
and takes bits from the others. It collects importance over text, assigns a
GGUF type to every tensor by a plan that a person can read, writes the
quantized file, and measures what that cost: perplexity, divergence from the
original, a look at generated text. Files are interchangeable with llama.cpp's.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME steelyard-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
  "libfmt-dev, libre2-dev, libpcre2-dev, libssl-dev, libcpp-httplib-dev, libeigen3-dev, nlohmann-json3-dev, pkg-config | pkgconf")
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "quantizes GGUF language models, development files
Static libraries, headers and CMake files of Steelyard, for programs that read,
plan, quantize or evaluate GGUF models: find_package(steelyard).")

include(CPack)
