/* built by tracker/build.mjs */
