FROM python:3.13-slim
WORKDIR /app
# The packages come before the code, so that a change of the code does not install them anew.
COPY pyproject.toml ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    print(*p['dependencies'], *p['optional-dependencies']['serve'], sep='\n')" > packages.txt \
    && pip install --no-cache-dir -r packages.txt \
    # The packages' own tests are 27 MB.
    && find /usr/local/lib/python3.13/site-packages -name tests -prune -exec rm -r {} +
COPY README.md LICENSE MODEL_CARD.md ./
COPY fer fer
COPY demo/page demo/page
RUN pip install --no-cache-dir --no-deps .
USER 65534:65534
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
CMD ["fer", "serve", "--host", "0.0.0.0"]
