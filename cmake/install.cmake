# What `cmake --install` puts where, in two components: program (binary, plans, calibration text, man pages, completions,
# documentation) and development (headers, static libraries, and what find_package(steelyard) reads). The binary finds plans
# and text from where it stands (src/base/data_folder.h), so the prefix may be moved afterwards.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Installing shall not want tests built: whoever installs has built the target `installable`.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)

# steelyard_installed_library(<folder>): sources and others find its headers, and others link it as steelyard::<folder>.
function(steelyard_installed_library folder)
  target_include_directories(steelyard_${folder} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/steelyard>)
  target_compile_features(steelyard_${folder} PUBLIC cxx_std_20)
  set_target_properties(steelyard_${folder} PROPERTIES EXPORT_NAME ${folder})
  install(TARGETS steelyard_${folder} EXPORT steelyard COMPONENT development)
  set_property(GLOBAL APPEND PROPERTY steelyard_libraries steelyard_${folder})
endfunction()

# Man pages and completions: the program writes them from the definitions of its own options.
function(steelyard_documents)
  find_program(STEELYARD_GZIP gzip REQUIRED)
  set(folder ${PROJECT_BINARY_DIR}/documents)
  add_custom_command(
    OUTPUT ${folder}.stamp
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${folder}
    # With a policy of waiting the program does not start itself again, which an emulator could not do.
    COMMAND ${CMAKE_COMMAND} -E env STEELYARD_PLANS=${PROJECT_SOURCE_DIR}/plans OMP_WAIT_POLICY=passive
      ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:steelyard> generate-docs ${folder}
    COMMAND ${STEELYARD_GZIP} -9 -n -r ${folder}/man
    COMMAND ${CMAKE_COMMAND} -E touch ${folder}.stamp
    DEPENDS steelyard
    COMMENT "Man pages and completions"
    VERBATIM)
  add_custom_target(documents ALL DEPENDS ${folder}.stamp)
  install(DIRECTORY ${folder}/ DESTINATION ${CMAKE_INSTALL_DATAROOTDIR} COMPONENT program)
endfunction()

function(steelyard_install)
  steelyard_documents()
  get_property(libraries GLOBAL PROPERTY steelyard_libraries)
  add_custom_target(installable DEPENDS steelyard documents ${libraries})

  install(TARGETS steelyard RUNTIME COMPONENT program)
  install(DIRECTORY plans calibration DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/steelyard USE_SOURCE_PERMISSIONS
    COMPONENT program PATTERN README.md EXCLUDE)
  install(FILES README.md CHANGELOG.md SECURITY.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program)
  install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program FILES_MATCHING PATTERN *.md)

  install(DIRECTORY src/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/steelyard COMPONENT development
    FILES_MATCHING PATTERN *.h PATTERN *.def PATTERN *.cuh)
  set(package ${CMAKE_INSTALL_LIBDIR}/cmake/steelyard)
  install(EXPORT steelyard NAMESPACE steelyard:: FILE steelyardTargets.cmake DESTINATION ${package} COMPONENT development)
  configure_package_config_file(cmake/steelyardConfig.cmake.in ${PROJECT_BINARY_DIR}/steelyardConfig.cmake
    INSTALL_DESTINATION ${package})
  # Until 1.0 a minor version may change whatever it likes.
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/steelyardConfigVersion.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/steelyardConfig.cmake ${PROJECT_BINARY_DIR}/steelyardConfigVersion.cmake
    DESTINATION ${package} COMPONENT development)
endfunction()
