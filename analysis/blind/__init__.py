"""Blind naming: can a person who sees no label name what a generated picture shows?"""
