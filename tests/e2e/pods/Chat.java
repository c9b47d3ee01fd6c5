import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import jakarta.websocket.HandshakeResponse;
import jakarta.websocket.OnClose;
import jakarta.websocket.OnMessage;
import jakarta.websocket.OnOpen;
import jakarta.websocket.server.HandshakeRequest;
import jakarta.websocket.server.ServerContainer;
import jakarta.websocket.server.ServerEndpoint;
import jakarta.websocket.server.ServerEndpointConfig;
import java.io.IOException;
import java.nio.file.Files;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.catalina.startup.Tomcat;
import org.apache.tomcat.websocket.server.WsContextListener;

/**
 * A pod as services in Java are: Tomcat, an echo of Jakarta WebSocket, and a servlet with its count
 * in JSON everywhere else.
 *
 * <p>It tells its count with each 101, too, before the new WebSocket is in it, and prints its port
 * once it listens.
 */
public class Chat {
    static final AtomicInteger open = new AtomicInteger();

    public static void main(String[] arguments) throws Exception {
        var tomcat = new Tomcat();
        tomcat.setBaseDir(Files.createTempDirectory("chat").toString());
        tomcat.setPort(0);
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        var context = tomcat.addContext("", null);
        // Of the launcher that has compiled this file.
        context.setParentClassLoader(Chat.class.getClassLoader());
        context.addApplicationListener(Listener.class.getName());
        Tomcat.addServlet(context, "stats", new Stats());
        // Filters, and so WebSockets, are only where a servlet is.
        context.addServletMappingDecoded("/", "stats");
        tomcat.start();
        System.out.println(tomcat.getConnector().getLocalPort());
        tomcat.getServer().await();
    }

    /** Has the container serve the endpoint. */
    public static class Listener extends WsContextListener {
        @Override
        public void contextInitialized(jakarta.servlet.ServletContextEvent event) {
            super.contextInitialized(event);
            var name = ServerContainer.class.getName();
            try {
                ((ServerContainer) event.getServletContext().getAttribute(name)).addEndpoint(Echo.class);
            } catch (jakarta.websocket.DeploymentException exception) {
                throw new IllegalStateException(exception);
            }
        }
    }

    /** The count. */
    public static class Stats extends HttpServlet {
        @Override
        protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
            response.setContentType("application/json");
            response.getWriter().printf("{\"websockets\": {\"open\": %d}}", open.get());
        }
    }

    /** Adds the count to each 101. */
    public static class LoadReport extends ServerEndpointConfig.Configurator {
        @Override
        public void modifyHandshake(
                ServerEndpointConfig config, HandshakeRequest request, HandshakeResponse response) {
            var report = "JSON {\"named_metrics\": {\"websockets\": " + open.get() + "}}";
            response.getHeaders().put("endpoint-load-metrics", List.of(report));
        }
    }

    /** The echo. */
    @ServerEndpoint(value = "/chat", configurator = LoadReport.class)
    public static class Echo {
        @OnOpen
        public void open() {
            open.incrementAndGet();
        }

        @OnMessage
        public String text(String message) {
            return message;
        }

        @OnMessage
        public byte[] binary(byte[] message) {
            return message;
        }

        @OnClose
        public void close() {
            open.decrementAndGet();
        }
    }
}
