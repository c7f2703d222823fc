FROM python:3.13-slim
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY fer fer
RUN pip install --no-cache-dir .
USER nobody
EXPOSE 8000
CMD ["fer", "serve", "--host", "0.0.0.0"]
