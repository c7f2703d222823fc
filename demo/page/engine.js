// fetch(
