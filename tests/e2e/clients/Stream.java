import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

/** Changes a setting and starts a backup by the client of the JDK, with bodies that are streams. */
public class Stream {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();

    private static String send(String method, String path, String body, int status) throws Exception {
        var pieces = BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body.getBytes()));
        var request = HttpRequest.newBuilder(URI.create(System.getenv("URL") + path))
                .timeout(Duration.ofSeconds(60))
                .header("Authorization", "Bearer " + System.getenv("REST_API_TOKEN"))
                .method(method, pieces)
                .build();
        var answer = CLIENT.send(request, BodyHandlers.ofString());
        if (answer.statusCode() != status) {
            throw new IllegalStateException(answer.statusCode() + " " + answer.body());
        }
        return answer.body() + " by " + answer.version();
    }

    public static void main(String[] arguments) throws Exception {
        System.out.println(send("PATCH", "/config", "{\"BACKUP_KEEP_DAYS\":\"" + System.getenv("DAYS") + "\"}", 200));
        System.out.println(send("POST", "/backup", "{\"databases\":[\"" + System.getenv("DATABASE") + "\"]}", 202));
    }
}
