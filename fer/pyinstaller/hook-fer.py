"""PyInstaller runs this for a program that imports fer."""

from PyInstaller.utils.hooks import collect_data_files

datas = collect_data_files("fer")
